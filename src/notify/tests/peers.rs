//! Real peers: an Alertmanager, and moto in place of SNS.
