//! Keys of SSE-C, which are sent with each request that reads or writes an object under them.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html>

use std::fmt;

use aws_smithy_types::base64;
use md5::{Digest, Md5};

use crate::headers::HeaderPair;

const BYTES: usize = 32;

/// A key of SSE-C: 256 bits. No log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerKey([u8; BYTES]);

impl CustomerKey {
    /// Reads what a key file holds: 32 bytes, or these in base64, on a line.
    pub fn from_file_content(content: &[u8]) -> Option<Self> {
        if let Ok(key) = content.try_into() {
            return Some(Self(key));
        }
        let text = std::str::from_utf8(content).ok()?.trim();
        let key = base64::decode(text).ok()?;
        key.try_into().ok().map(Self)
    }

    /// MD5 of the key, in base64: what S3 names it by in its answers.
    pub fn md5(&self) -> String {
        base64::encode(Md5::digest(self.0))
    }

    /// The headers of a request that reads or writes an object under this key.
    pub fn headers(&self) -> [HeaderPair; 3] {
        self.named([
            "x-amz-server-side-encryption-customer-algorithm",
            "x-amz-server-side-encryption-customer-key",
            "x-amz-server-side-encryption-customer-key-md5",
        ])
    }

    /// The headers of a copy whose source is under this key.
    pub fn copy_source_headers(&self) -> [HeaderPair; 3] {
        self.named([
            "x-amz-copy-source-server-side-encryption-customer-algorithm",
            "x-amz-copy-source-server-side-encryption-customer-key",
            "x-amz-copy-source-server-side-encryption-customer-key-md5",
        ])
    }

    fn named(&self, [algorithm, key, md5]: [&'static str; 3]) -> [HeaderPair; 3] {
        [
            (algorithm.into(), "AES256".to_owned()),
            (key.into(), base64::encode(self.0)),
            (md5.into(), self.md5()),
        ]
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_thirty_two_bytes_or_their_base64() {
        let bytes: Vec<u8> = (0..32).collect();
        let key = CustomerKey::from_file_content(&bytes).unwrap();
        let text = format!("{}\n", base64::encode(&bytes));
        assert_eq!(
            CustomerKey::from_file_content(text.as_bytes()),
            Some(key.clone())
        );
        for bad in [&b""[..], &bytes[1..], b"AAECAwQ=", &[0xff; 33]] {
            assert_eq!(CustomerKey::from_file_content(bad), None, "{bad:?}");
        }
        assert_eq!(key.headers()[1].1, base64::encode(&bytes));
        assert_eq!(key.headers()[2].1, key.md5());
        assert_eq!(format!("{key:?}"), "CustomerKey");
    }
}
