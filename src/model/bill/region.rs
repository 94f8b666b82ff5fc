//! Regions as AWS abbreviates them at the beginning of usage types.

/// AWS: billing codes of regions. Those of Asia do not follow the regions' numbers.
const CODES: &[(&str, &str)] = &[
    ("AFS1", "af-south-1"),
    ("APE1", "ap-east-1"),
    ("APE2", "ap-east-2"),
    ("APN1", "ap-northeast-1"),
    ("APN2", "ap-northeast-2"),
    ("APN3", "ap-northeast-3"),
    ("APS1", "ap-southeast-1"),
    ("APS2", "ap-southeast-2"),
    ("APS3", "ap-south-1"),
    ("APS4", "ap-southeast-3"),
    ("APS5", "ap-south-2"),
    ("APS6", "ap-southeast-4"),
    ("APS7", "ap-southeast-5"),
    ("APS8", "ap-southeast-6"),
    ("APS9", "ap-southeast-7"),
    ("CAN1", "ca-central-1"),
    ("CAN2", "ca-west-1"),
    ("EU", "eu-west-1"),
    ("EUC1", "eu-central-1"),
    ("EUC2", "eu-central-2"),
    ("EUN1", "eu-north-1"),
    ("EUS1", "eu-south-1"),
    ("EUS2", "eu-south-2"),
    ("EUW1", "eu-west-1"),
    ("EUW2", "eu-west-2"),
    ("EUW3", "eu-west-3"),
    ("ILC1", "il-central-1"),
    ("MEC1", "me-central-1"),
    ("MES1", "me-south-1"),
    ("MXC1", "mx-central-1"),
    ("SAE1", "sa-east-1"),
    ("UGE1", "us-gov-east-1"),
    ("UGW1", "us-gov-west-1"),
    ("USE1", "us-east-1"),
    ("USE2", "us-east-2"),
    ("USW1", "us-west-1"),
    ("USW2", "us-west-2"),
];

/// Takes the region off a usage type. What looks like a code and is not known gives no region, but
/// is taken off all the same.
pub(super) fn split(usage_type: &str) -> (Option<&'static str>, &str) {
    let Some((code, rest)) = usage_type.split_once('-') else {
        return (None, usage_type);
    };
    if let Some((_, region)) = CODES.iter().find(|(known, _)| *known == code) {
        return (Some(region), rest);
    }
    (None, if is_code(code) { rest } else { usage_type })
}

/// Whether a text looks like the code of a region.
pub(super) fn is_code(text: &str) -> bool {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let is_new = (2..=4).contains(&(text.len() - digits.len()))
        && digits.len() == 1
        && digits.bytes().all(|b| b.is_ascii_digit());
    is_new || CODES.iter().any(|(known, _)| *known == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_taken_off_and_unknown_ones_as_well() {
        let cases = [
            ("USE1-MP:x", Some("us-east-1"), "MP:x"),
            ("EU-Claude3Haiku-x", Some("eu-west-1"), "Claude3Haiku-x"),
            ("APS3-x", Some("ap-south-1"), "x"),
            ("XYZ7-x", None, "x"),
            (
                "Claude3Haiku-input-tokens",
                None,
                "Claude3Haiku-input-tokens",
            ),
            ("MP:x", None, "MP:x"),
            ("é1-x", None, "é1-x"),
        ];
        for (usage_type, region, rest) in cases {
            assert_eq!(split(usage_type), (region, rest), "{usage_type}");
        }
    }
}
