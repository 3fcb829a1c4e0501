//! Files with keys of SSE-C: the key is read from them, and never written anywhere.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use s3haul_s3::CustomerKey;

use crate::cli::exit::Failed;
use crate::cli::flags::absolute;
use crate::job::access::AccessOptions;
use crate::job::copy::settings::{CustomerKeyFile, CustomerKeys, ObjectSettings};

/// More than a key takes in any form; what is longer is none.
const READ_BYTES: u64 = 256;

/// A key, and what a job file says of it.
pub(in crate::cli) fn read_key(
    flag: &'static str,
    path: &Path,
) -> Result<(CustomerKeyFile, CustomerKey), Failed> {
    let path = absolute(path)?;
    let mut content = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(READ_BYTES).read_to_end(&mut content))
        .map_err(|error| {
            Failed::usage(format!("cannot read {flag} {}: {error}", path.display()))
        })?;
    let key = CustomerKey::from_file_content(&content).ok_or_else(|| {
        let path = path.display();
        Failed::usage(format!("{flag} {path} holds no key of SSE-C"))
            .hinted("it holds 32 bytes, or their base64 on one line".to_owned())
    })?;
    let md5 = key.md5();
    Ok((CustomerKeyFile { path, md5 }, key))
}

/// The keys of a job that goes on, read again: its file does not have them.
///
/// # Errors
/// A file is not there any more, or has another key.
pub(in crate::cli) fn customer_keys(settings: &ObjectSettings) -> Result<CustomerKeys, Failed> {
    let again = |flag: &'static str, file: &Option<CustomerKeyFile>| {
        let Some(file) = file else {
            return Ok(None);
        };
        let (found, key) = read_key(flag, &file.path)?;
        if found.md5 == file.md5 {
            return Ok(Some(key));
        }
        Err(Failed::usage(format!(
            "{flag} {} has another key than the one that this job began with (MD5 {}, not {})",
            file.path.display(),
            found.md5,
            file.md5
        ))
        .hinted("put the file back: the objects of a job are all under one key".to_owned()))
    };
    Ok(CustomerKeys {
        source: again("--source-sse-c-key-file", &settings.source_customer_key)?,
        destination: again("--sse-c-key-file", &settings.customer_key)?,
    })
}

/// Refuses to send keys where others can read them: S3 takes them over HTTPS alone. `endpoint_url` is
/// the one that the environment or the profile sets.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html>
pub(in crate::cli) fn over_https(
    settings: &ObjectSettings,
    access: &AccessOptions,
    endpoint_url: Option<&str>,
) -> Result<(), Failed> {
    let key = match (&settings.customer_key, &settings.source_customer_key) {
        (Some(_), _) => "--sse-c-key-file",
        (None, Some(_)) => "--source-sse-c-key-file",
        (None, None) => return Ok(()),
    };
    for (flag, url) in [
        ("--endpoint-url", access.endpoint_url.as_deref()),
        (
            "--source-endpoint-url",
            access.source_endpoint_url.as_deref(),
        ),
        (
            "AWS_ENDPOINT_URL or the profile's endpoint_url",
            endpoint_url,
        ),
    ] {
        if let Some(url) = url.filter(|url| is_readable_by_others(url)) {
            return Err(Failed::usage(format!(
                "{key} cannot be used with {flag} {url}: S3 takes keys of SSE-C over HTTPS alone, as \
                 anybody on the way could read them"
            )));
        }
    }
    Ok(())
}

/// Whether what is sent to an endpoint leaves this machine as plain text.
fn is_readable_by_others(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let authority = rest.trim_end_matches('/');
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    scheme.eq_ignore_ascii_case("http") && !loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine() {
        for (url, readable) in [
            ("https://s3.eu-west-1.amazonaws.com", false),
            ("HTTPS://10.0.0.1:9000", false),
            ("http://127.0.0.1:9000", false),
            ("http://127.8.0.1", false),
            ("http://localhost:9000/", false),
            ("http://[::1]:9000", false),
            ("http://[::1]", false),
            ("http://10.0.0.1:9000", true),
            ("HTTP://s3.example", true),
            ("http://localhost.example", true),
            ("http://[fe80::1]:80", true),
        ] {
            assert_eq!(is_readable_by_others(url), readable, "{url}");
        }
    }

    #[test]
    fn a_key_is_read_again_and_must_be_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, [7; 32]).unwrap();
        let (file, key) = read_key("--sse-c-key-file", &path).unwrap();
        assert_eq!(
            (file.path.as_path(), &file.md5),
            (path.as_path(), &key.md5())
        );
        let settings = ObjectSettings {
            customer_key: Some(file),
            ..ObjectSettings::default()
        };
        let keys = customer_keys(&settings).unwrap();
        assert_eq!((keys.source, keys.destination), (None, Some(key)));
        std::fs::write(&path, [8; 32]).unwrap();
        assert!(customer_keys(&settings).is_err());
        std::fs::write(&path, [7; 33]).unwrap();
        assert!(customer_keys(&settings).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(customer_keys(&settings).is_err());
    }
}
