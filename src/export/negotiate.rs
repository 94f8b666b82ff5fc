//! What a scraper wants: its `Accept` and `Accept-Encoding` headers.

/// An exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header prefers; the text format if it accepts neither or
    /// there is no header. Several headers are joined with a comma first.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let Some(accept) = accept else {
            return Self::Text;
        };
        let mut text = Preference::default();
        let mut open = Preference::default();
        for range in accept.split(',').map(Range::parse) {
            match range.name.as_str() {
                "application/openmetrics-text" if matches!(range.version, None | Some("1.0.0")) => {
                    open.offer(Rank::Exact, range.quality);
                }
                "application/*" => open.offer(Rank::Type, range.quality),
                "text/plain" if matches!(range.version, None | Some("0.0.4")) => {
                    text.offer(Rank::Exact, range.quality);
                }
                "text/*" => text.offer(Rank::Type, range.quality),
                "*/*" => text.offer(Rank::Any, range.quality),
                _ => {}
            }
        }
        if open.quality > 0 && open.quality >= text.quality {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type` of an answer.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// True if an `Accept-Encoding` header allows gzip. Several headers are joined with a comma first.
#[must_use]
pub fn accepts_gzip(accept_encoding: Option<&str>) -> bool {
    let mut preference = Preference::default();
    for range in accept_encoding.unwrap_or("").split(',').map(Range::parse) {
        match range.name.as_str() {
            "gzip" | "x-gzip" => preference.offer(Rank::Exact, range.quality),
            "*" => preference.offer(Rank::Any, range.quality),
            _ => {}
        }
    }
    preference.quality > 0
}

/// How exactly a range names a thing; the most exact one counts (RFC 9110, 12.5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    #[default]
    Nothing,
    Any,
    Type,
    Exact,
}

#[derive(Clone, Copy, Debug, Default)]
struct Preference {
    rank: Rank,
    /// In thousandths, 0 to 1000.
    quality: u16,
}

impl Preference {
    fn offer(&mut self, rank: Rank, quality: u16) {
        if rank > self.rank {
            *self = Self { rank, quality };
        } else if rank == self.rank {
            self.quality = self.quality.max(quality);
        }
    }
}

/// One element of an `Accept` or `Accept-Encoding` header.
struct Range<'a> {
    name: String,
    version: Option<&'a str>,
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(element: &'a str) -> Self {
        let mut parts = element.split(';').map(str::trim);
        let mut range = Self {
            name: parts.next().unwrap_or("").to_ascii_lowercase(),
            version: None,
            quality: 1_000,
        };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "version" => range.version = Some(value),
                "q" => range.quality = parse_quality(value),
                _ => {}
            }
        }
        range
    }
}

/// Thousandths of a weight such as `0.75`; a weight that is none refuses the range.
fn parse_quality(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || fraction.len() > 3 {
        return 0;
    }
    match whole {
        "1" => 1_000,
        "0" => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prometheus_server_gets_openmetrics() {
        let two = "application/openmetrics-text;version=1.0.0,\
                   application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let three = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [two, three] {
            assert_eq!(Format::negotiate(Some(accept)), Format::OpenMetrics);
        }
    }

    #[test]
    fn everyone_else_gets_text() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let cases = [
            None,
            Some(""),
            Some("*/*"),
            Some("text/plain"),
            Some(browser),
            Some("application/json"),
            Some("application/openmetrics-text;version=0.0.1"),
            Some("application/openmetrics-text;q=0, text/plain"),
            Some("application/openmetrics-text;q=0.4, text/plain;q=0.5"),
            Some("application/openmetrics-text;q=nonsense"),
        ];
        for accept in cases {
            assert_eq!(Format::negotiate(accept), Format::Text, "{accept:?}");
        }
    }

    #[test]
    fn names_are_read_without_regard_to_case_and_space() {
        let cases = [
            "Application/OpenMetrics-Text",
            "application/openmetrics-text ; Version=\"1.0.0\" ; Q=0.9, text/plain;q=0.8",
            "application/openmetrics-text, */*",
            "application/*, text/*;q=0.5",
        ];
        for accept in cases {
            let format = Format::negotiate(Some(accept));
            assert_eq!(format, Format::OpenMetrics, "{accept}");
        }
    }

    #[test]
    fn gzip_is_used_only_where_it_is_allowed() {
        let cases = [
            (None, false),
            (Some(""), false),
            (Some("identity"), false),
            (Some("gzip"), true),
            (Some("deflate, GZIP;q=0.5"), true),
            (Some("x-gzip"), true),
            (Some("*"), true),
            (Some("gzip;q=0"), false),
            (Some("gzip;q=0.000, *"), false),
            (Some("*;q=0, gzip;q=0.001"), true),
        ];
        for (header, expected) in cases {
            assert_eq!(accepts_gzip(header), expected, "{header:?}");
        }
    }
}
