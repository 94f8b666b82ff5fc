//! Unpacks request bodies within a bound.

use std::io::Read;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// zstd: frames that want a larger window than 2^24 bytes are refused, to bound memory.
const MAX_ZSTD_WINDOW_LOG: u32 = 24;

/// Why a body cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnpackError {
    #[error("the unpacked body is too large")]
    TooLarge,
    #[error("the body is not what content-encoding says")]
    Corrupt,
    #[error("the zstd window is too large")]
    Window,
}

impl Coding {
    /// The coding named by `content-encoding`, `None` if it is not one of ours.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(coding) = codings.next() else {
            return Some(Self::Identity);
        };
        if codings.next().is_some() {
            return None;
        }
        let coding = coding.to_str().ok()?.trim().to_ascii_lowercase();
        match coding.as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The body as it was before packing, if it has at most `limit` bytes.
    pub(super) fn unpack(self, body: &Bytes, limit: usize) -> Result<Bytes, UnpackError> {
        match self {
            Self::Identity if body.len() > limit => Err(UnpackError::TooLarge),
            Self::Identity => Ok(body.clone()),
            Self::Gzip => read(MultiGzDecoder::new(&body[..]), limit),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(&body[..]);
                let mut decoder = decoder.map_err(|_| UnpackError::Corrupt)?;
                let bounded = decoder.window_log_max(MAX_ZSTD_WINDOW_LOG);
                bounded.map_err(|_| UnpackError::Corrupt)?;
                read(decoder, limit)
            }
        }
    }
}

fn read(packed: impl Read, limit: usize) -> Result<Bytes, UnpackError> {
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut unpacked = Vec::new();
    let read = packed.take(bound).read_to_end(&mut unpacked);
    if unpacked.len() > limit {
        return Err(UnpackError::TooLarge);
    }
    read.map_err(|error| {
        // The error of zstd has no kind of its own.
        if error.to_string().contains("too much memory") {
            UnpackError::Window
        } else {
            UnpackError::Corrupt
        }
    })?;
    Ok(unpacked.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).expect("memory");
        packer.finish().expect("memory").into()
    }

    fn zstd(bytes: &[u8]) -> Bytes {
        zstd::encode_all(bytes, 3).expect("memory").into()
    }

    #[test]
    fn packed_bodies_are_unpacked() {
        let body = Bytes::from_static(b"hello hello hello");
        assert_eq!(Coding::Identity.unpack(&body, 100), Ok(body.clone()));
        assert_eq!(Coding::Gzip.unpack(&gzip(&body), 100), Ok(body.clone()));
        assert_eq!(Coding::Zstd.unpack(&zstd(&body), 100), Ok(body.clone()));
    }

    #[test]
    fn bombs_are_stopped_at_the_limit() {
        let bomb = vec![0; 1 << 20];
        let too_large = Err(UnpackError::TooLarge);
        assert_eq!(Coding::Gzip.unpack(&gzip(&bomb), 1 << 16), too_large);
        assert_eq!(Coding::Zstd.unpack(&zstd(&bomb), 1 << 16), too_large);
    }

    #[test]
    fn a_zstd_window_beyond_the_bound_is_told() {
        let mut packer = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("memory");
        packer.window_log(MAX_ZSTD_WINDOW_LOG + 3).expect("allowed");
        packer.write_all(&[7; 1000]).expect("memory");
        let packed = packer.finish().expect("memory").into();
        assert_eq!(Coding::Zstd.unpack(&packed, 5000), Err(UnpackError::Window));
    }

    #[test]
    fn what_is_not_packed_or_cut_short_is_corrupt() {
        let corrupt = Err(UnpackError::Corrupt);
        let plain = Bytes::from_static(b"{}");
        assert_eq!(Coding::Gzip.unpack(&plain, 100), corrupt);
        assert_eq!(Coding::Zstd.unpack(&plain, 100), corrupt);
        let whole = gzip(&[7; 1000]);
        assert_eq!(Coding::Gzip.unpack(&whole.slice(..10), 5000), corrupt);
    }
}
