//! SSE-C: keys that clients bring with each request.
//!
//! Nothing is encrypted, and of a key only its MD5 is kept. S3 takes such keys over TLS alone; the sandbox has none.
//! `https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html`

use hyper::HeaderMap;
use s3s::S3Error;
use s3s::crypto::{Checksum as _, Md5};

use crate::access::header;
use crate::error::{access_denied, error, invalid_argument, invalid_request};
use crate::store::checksum::base64;
use crate::store::object::Encryption;

/// Which object a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyFor {
    /// The one that the URL names.
    Object,
    /// The source of a copy.
    Source,
}

impl KeyFor {
    fn headers(self) -> [&'static str; 3] {
        match self {
            Self::Object => [
                "x-amz-server-side-encryption-customer-algorithm",
                "x-amz-server-side-encryption-customer-key",
                "x-amz-server-side-encryption-customer-key-md5",
            ],
            Self::Source => [
                "x-amz-copy-source-server-side-encryption-customer-algorithm",
                "x-amz-copy-source-server-side-encryption-customer-key",
                "x-amz-copy-source-server-side-encryption-customer-key-md5",
            ],
        }
    }
}

/// Reads the key that a request brings, and answers its MD5 as the header spells it; none without a key.
pub(super) fn customer_key(headers: &HeaderMap, of: KeyFor) -> Result<Option<String>, S3Error> {
    let names = of.headers();
    let [algorithm, key, md5] = names.map(|name| header(headers, name));
    // What S3 shows of an argument is never the key.
    let invalid = |name: &str, message: &str| Err(invalid_argument(name, "", message));
    let Some(algorithm) = algorithm else {
        if key.is_none() && md5.is_none() {
            return Ok(None);
        }
        let message = "Requests specifying Server Side Encryption with Customer provided keys must provide a valid \
                       encryption algorithm.";
        return invalid(names[0], message);
    };
    if algorithm != "AES256" {
        let message =
            "The encryption request that you specified is not valid. The valid value is AES256.";
        return Err(error(400, "InvalidEncryptionAlgorithmError", message));
    }
    let Some(key) = key else {
        let message = "Requests specifying Server Side Encryption with Customer provided keys must provide an \
                       appropriate secret key.";
        return invalid(names[1], message);
    };
    let Some(md5) = md5 else {
        let message = "Requests specifying Server Side Encryption with Customer provided keys must provide the client \
                       calculated MD5 of the secret key.";
        return invalid(names[2], message);
    };
    match base64_simd::STANDARD.decode_to_vec(key.as_bytes()) {
        Ok(key) if key.len() == 32 => {
            if base64(&Md5::checksum(&key)) == md5 {
                Ok(Some(md5.to_owned()))
            } else {
                let message =
                    "The calculated MD5 hash of the key did not match the hash that was provided.";
                invalid(names[2], message)
            }
        }
        _ => invalid(
            names[1],
            "The secret key was invalid for the specified algorithm.",
        ),
    }
}

/// Checks that a request to read an object brings the key that it was written with, or none if there was none.
pub(super) fn check_customer_key(
    headers: &HeaderMap,
    of: KeyFor,
    encryption: &Encryption,
) -> Result<(), S3Error> {
    match (customer_key(headers, of)?, &encryption.customer_key_md5) {
        (None, None) => Ok(()),
        (Some(sent), Some(stored)) if sent == *stored => Ok(()),
        (Some(_), Some(_)) => Err(access_denied("Access Denied")),
        (None, Some(_)) => Err(invalid_request(
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to \
             retrieve the object.",
        )),
        (Some(_), None) => Err(not_applicable()),
    }
}

/// Whether a request about an upload must bring its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadKey {
    /// A part must.
    Required,
    /// Complete and ListParts must, if the upload names a checksum algorithm: the API pages of both.
    ForChecksums,
}

/// Checks that a request about an upload brings the key that it was created with.
pub(super) fn check_upload_key(
    headers: &HeaderMap,
    upload: &crate::store::upload::Upload,
    needed: UploadKey,
) -> Result<(), S3Error> {
    let needed = needed == UploadKey::Required || upload.checksum.is_some();
    let stored = &upload.settings.encryption.customer_key_md5;
    match (customer_key(headers, KeyFor::Object)?, stored) {
        (Some(sent), Some(stored)) if sent == *stored => Ok(()),
        (Some(_), Some(_)) => Err(invalid_request(
            "The provided encryption parameters did not match the ones used originally.",
        )),
        (None, Some(_)) if needed => Err(invalid_request(
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate \
             encryption parameters.",
        )),
        (None, _) => Ok(()),
        (Some(_), None) => Err(not_applicable()),
    }
}

fn not_applicable() -> S3Error {
    invalid_request("The encryption parameters are not applicable to this object.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: [Option<&str>; 3]) -> HeaderMap {
        KeyFor::Object
            .headers()
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| {
                let name = hyper::header::HeaderName::from_static(name);
                Some((name, value?.parse().expect("a header value")))
            })
            .collect()
    }

    #[test]
    fn keys_are_read() {
        let key = base64(&[7; 32]);
        let md5 = base64(&Md5::checksum(&[7; 32]));
        let (key, md5) = (Some(key.as_str()), Some(md5.as_str()));
        let short = base64(&[7; 31]);
        let aes = Some("AES256");
        for (values, expected) in [
            ([None, None, None], Ok(None)),
            ([aes, key, md5], Ok(md5.map(str::to_owned))),
            ([None, key, md5], Err("InvalidArgument")),
            ([aes, None, md5], Err("InvalidArgument")),
            ([aes, key, None], Err("InvalidArgument")),
            ([aes, key, key], Err("InvalidArgument")),
            ([aes, Some(&short), md5], Err("InvalidArgument")),
            ([aes, Some("no base64"), md5], Err("InvalidArgument")),
            (
                [Some("aws:kms"), key, md5],
                Err("InvalidEncryptionAlgorithmError"),
            ),
        ] {
            let read = customer_key(&headers(values), KeyFor::Object);
            let read = read.map_err(|refused| refused.code().as_str().to_owned());
            assert_eq!(read, expected.map_err(str::to_owned), "{values:?}");
        }
    }
}
