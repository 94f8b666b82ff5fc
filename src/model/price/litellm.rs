//! Reads the price map of LiteLLM.
