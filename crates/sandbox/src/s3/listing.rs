//! `ListObjectsV2`, `ListObjectVersions`, `ListBuckets`, and what all listings share.

use std::ops::Bound;

use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, EncodingType, ListBucketsInput, ListBucketsOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsV2Input, ListObjectsV2Output,
    ObjectVersion, Owner,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::answer::Answer;
use super::{Call, Service, e_tag_value};
use crate::error::{access_denied, invalid_argument};
use crate::store::checksum::{ChecksumAlgorithm, ChecksumType};
use crate::store::object::{Object, Timestamp, Version, VersionId, canonical_user_id};

const MAX_PAGE: usize = 1000;

/// How names are written in a listing.
#[derive(Clone, Copy)]
pub(super) struct Names {
    encoded: bool,
}

impl Names {
    pub(super) fn of(encoding: Option<&EncodingType>) -> Result<Self, S3Error> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { encoded: false }),
            Some("url") => Ok(Self { encoded: true }),
            Some(other) => Err(invalid_argument(
                "encoding-type",
                other,
                "Invalid Encoding Method specified in Request",
            )),
        }
    }

    pub(super) fn write(self, name: &str) -> String {
        if self.encoded {
            form_encode(name)
        } else {
            name.to_owned()
        }
    }
}

/// Encodes as S3 does with `encoding-type=url`: a space is `+`, a slash stays.
fn form_encode(text: &str) -> String {
    const KEPT: percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'*')
        .remove(b'/')
        .remove(b' ');
    percent_encoding::utf8_percent_encode(text, &KEPT)
        .to_string()
        .replace(' ', "+")
}

pub(super) fn page_size(name: &str, asked: Option<i32>) -> Result<usize, S3Error> {
    let Some(asked) = asked else {
        return Ok(MAX_PAGE);
    };
    usize::try_from(asked)
        .map(|asked| asked.min(MAX_PAGE))
        .map_err(|_| {
            let message = format!("Argument {name} must be an integer between 0 and 2147483647");
            invalid_argument(name, &asked.to_string(), message)
        })
}

/// The common prefix that a key falls under.
pub(super) fn common_prefix<'a>(
    key: &'a str,
    prefix: &str,
    delimiter: Option<&str>,
) -> Option<&'a str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let at = key[prefix.len()..].find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

pub(super) fn prefixes(names: Names, prefixes: &[String]) -> Option<Vec<CommonPrefix>> {
    let list = prefixes
        .iter()
        .map(|prefix| CommonPrefix {
            prefix: Some(names.write(prefix)),
        })
        .collect();
    (!prefixes.is_empty()).then_some(list)
}

pub(super) fn owner(account: &str) -> Owner {
    Owner {
        id: Some(canonical_user_id(account)),
        display_name: None,
    }
}

/// The algorithm and the type of an object's checksum, if S3 keeps one.
fn kept_checksum(object: &Object) -> Option<(ChecksumAlgorithm, ChecksumType)> {
    (!object.checksum.is_missing).then(|| (object.checksum.algorithm, object.checksum_type()))
}

pub(super) fn shown_size(size: u64) -> Option<i64> {
    i64::try_from(size).ok()
}

impl Service {
    pub(super) fn list_buckets_of_caller(
        &self,
        request: &S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let exchange = Self::exchange(&request.extensions)?;
        let Some(identity) = &exchange.identity else {
            return Err(access_denied("Access Denied"));
        };
        let buckets = self
            .store
            .buckets()
            .into_iter()
            .filter(|bucket| *bucket.account == *identity.account())
            .map(|bucket| s3s::dto::Bucket {
                name: Some(bucket.name.clone()),
                creation_date: Some(bucket.created.into()),
                ..s3s::dto::Bucket::default()
            })
            .collect();
        let output = ListBucketsOutput {
            buckets: Some(buckets),
            owner: Some(owner(identity.account())),
            ..ListBucketsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) fn list_objects_page(
        &self,
        request: &S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        if call.exchange.parameter("list-type") != Some("2") {
            return Err(invalid_argument(
                "list-type",
                "",
                "Invalid List Type specified in Request",
            ));
        }
        let names = Names::of(input.encoding_type.as_ref())?;
        let limit = page_size("max-keys", input.max_keys)?;
        let entries = limit.min(call.bucket.settings().page_entries);
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = match &input.continuation_token {
            Some(token) => Some(read_token(token)?),
            None => input.start_after.clone(),
        };
        let delimiter = input.delimiter.as_deref();
        // What was listed up to a common prefix goes on behind all that is under it.
        let skip = match (&input.continuation_token, &after) {
            (Some(_), Some(after)) if is_group(after, &prefix, delimiter) => Some(after.clone()),
            _ => None,
        };
        let page = object_page(&call, &prefix, delimiter, after.as_deref(), skip, entries);
        let shows_owner = input.fetch_owner.unwrap_or(false);
        let contents: Vec<s3s::dto::Object> = page
            .objects
            .iter()
            .map(|(key, modified, object)| s3s::dto::Object {
                key: Some(names.write(key)),
                last_modified: Some((*modified).into()),
                e_tag: Some(e_tag_value(object)),
                size: shown_size(object.size()),
                storage_class: Some(object.settings.storage_class.as_str().to_owned().into()),
                owner: shows_owner.then(|| owner(&object.owner)),
                checksum_algorithm: kept_checksum(object)
                    .map(|(algorithm, _)| vec![algorithm.as_str().to_owned().into()]),
                checksum_type: kept_checksum(object)
                    .map(|(_, kind)| kind.as_str().to_owned().into()),
                ..s3s::dto::Object::default()
            })
            .collect();
        let count = contents.len() + page.prefixes.len();
        let output = ListObjectsV2Output {
            name: Some(input.bucket.clone()),
            prefix: Some(names.write(&prefix)),
            max_keys: i32::try_from(limit).ok(),
            key_count: i32::try_from(count).ok(),
            continuation_token: input.continuation_token.clone(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_deref().map(token),
            contents: Some(contents),
            common_prefixes: prefixes(names, &page.prefixes),
            delimiter: input
                .delimiter
                .as_deref()
                .map(|delimiter| names.write(delimiter)),
            encoding_type: input.encoding_type.clone(),
            start_after: input.start_after.as_deref().map(|start| names.write(start)),
            ..ListObjectsV2Output::default()
        };
        Ok(charged(&call, output))
    }

    pub(super) fn list_versions(
        &self,
        request: &S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let names = Names::of(input.encoding_type.as_ref())?;
        let limit = page_size("max-keys", input.max_keys)?;
        if input.version_id_marker.is_some() && input.key_marker.is_none() {
            let message = "A version-id marker cannot be specified without a key marker.";
            return Err(invalid_argument("version-id-marker", "", message));
        }
        let prefix = input.prefix.clone().unwrap_or_default();
        let entries = limit.min(call.bucket.settings().page_entries);
        let page = version_page(&call, &prefix, input, entries)?;
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        for (key, version, is_latest) in &page.versions {
            let last_modified = Some(version.modified.into());
            let version_id = Some(version.id.to_string());
            match &version.object {
                Some(object) => versions.push(ObjectVersion {
                    key: Some(names.write(key)),
                    version_id,
                    is_latest: Some(*is_latest),
                    last_modified,
                    e_tag: Some(e_tag_value(object)),
                    size: shown_size(object.size()),
                    storage_class: Some(object.settings.storage_class.as_str().to_owned().into()),
                    owner: Some(owner(&object.owner)),
                    checksum_algorithm: kept_checksum(object)
                        .map(|(algorithm, _)| vec![algorithm.as_str().to_owned().into()]),
                    checksum_type: kept_checksum(object)
                        .map(|(_, kind)| kind.as_str().to_owned().into()),
                    ..ObjectVersion::default()
                }),
                None => markers.push(DeleteMarkerEntry {
                    key: Some(names.write(key)),
                    version_id,
                    is_latest: Some(*is_latest),
                    last_modified,
                    owner: Some(owner(&call.bucket.account)),
                }),
            }
        }
        let (next_key, next_version) = page
            .next
            .map_or((None, None), |(key, version)| (Some(key), version));
        let output = ListObjectVersionsOutput {
            name: Some(input.bucket.clone()),
            prefix: Some(names.write(&prefix)),
            max_keys: i32::try_from(limit).ok(),
            key_marker: Some(names.write(input.key_marker.as_deref().unwrap_or_default())),
            version_id_marker: Some(input.version_id_marker.clone().unwrap_or_default()),
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key.map(|key| names.write(&key)),
            next_version_id_marker: next_version.map(|id| id.to_string()),
            versions: Some(versions),
            delete_markers: Some(markers),
            common_prefixes: prefixes(names, &page.prefixes),
            delimiter: input
                .delimiter
                .as_deref()
                .map(|delimiter| names.write(delimiter)),
            encoding_type: input.encoding_type.clone(),
            ..ListObjectVersionsOutput::default()
        };
        Ok(charged(&call, output))
    }
}

pub(super) fn charged<T>(call: &Call, output: T) -> S3Response<T> {
    let mut answer = Answer::new();
    answer.charged(&call.exchange);
    S3Response::with_headers(output, answer.0)
}

#[derive(Default)]
struct ObjectPage {
    objects: Vec<(String, Timestamp, std::sync::Arc<Object>)>,
    prefixes: Vec<String>,
    /// The last key or prefix shown, if there is more.
    next: Option<String>,
}

fn object_page(
    call: &Call,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<&str>,
    mut skip: Option<String>,
    limit: usize,
) -> ObjectPage {
    let mut page = ObjectPage::default();
    if limit == 0 {
        return page;
    }
    let state = call.bucket.lock();
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut last: Option<String> = None;
    for (key, versions) in state.keys_from(start) {
        if !key.starts_with(prefix) {
            break;
        }
        if skip.as_deref().is_some_and(|group| key.starts_with(group)) {
            continue;
        }
        let Some(Version {
            modified,
            object: Some(object),
            ..
        }) = versions.last()
        else {
            continue;
        };
        if page.objects.len() + page.prefixes.len() == limit {
            page.next = last;
            break;
        }
        if let Some(group) = common_prefix(key, prefix, delimiter) {
            skip = Some(group.to_owned());
            page.prefixes.push(group.to_owned());
            last = Some(group.to_owned());
        } else {
            page.objects
                .push((key.to_owned(), *modified, std::sync::Arc::clone(object)));
            last = Some(key.to_owned());
        }
    }
    page
}

/// Whether a place in a listing is a common prefix, not a key.
fn is_group(place: &str, prefix: &str, delimiter: Option<&str>) -> bool {
    place.starts_with(prefix) && common_prefix(place, prefix, delimiter) == Some(place)
}

#[derive(Default)]
struct VersionPage {
    versions: Vec<(String, Version, bool)>,
    prefixes: Vec<String>,
    next: Option<(String, Option<VersionId>)>,
}

fn version_page(
    call: &Call,
    prefix: &str,
    input: &ListObjectVersionsInput,
    limit: usize,
) -> Result<VersionPage, S3Error> {
    let delimiter = input.delimiter.as_deref();
    let mut page = VersionPage::default();
    if limit == 0 {
        return Ok(page);
    }
    let marker = input.key_marker.as_deref().filter(|key| !key.is_empty());
    let marker_version = super::read::parse_version_id(
        input
            .version_id_marker
            .as_deref()
            .filter(|id| !id.is_empty()),
    )?;
    let mut skip = marker
        .filter(|key| is_group(key, prefix, delimiter))
        .map(str::to_owned);
    let start = match marker {
        Some(key) if key >= prefix && marker_version.is_some() => Bound::Included(key),
        Some(key) if key >= prefix => Bound::Excluded(key),
        _ => Bound::Included(prefix),
    };
    let state = call.bucket.lock();
    let mut last = None;
    for (key, versions) in state.keys_from(start) {
        if !key.starts_with(prefix) {
            break;
        }
        if skip.as_deref().is_some_and(|group| key.starts_with(group)) {
            continue;
        }
        if let Some(group) = common_prefix(key, prefix, delimiter) {
            if page.versions.len() + page.prefixes.len() == limit {
                page.next = last;
                return Ok(page);
            }
            skip = Some(group.to_owned());
            page.prefixes.push(group.to_owned());
            last = Some((group.to_owned(), None));
            continue;
        }
        let mut passed = marker != Some(key) || marker_version.is_none();
        for (at, version) in versions.iter().rev().enumerate() {
            if !passed {
                passed = Some(version.id) == marker_version;
                continue;
            }
            if page.versions.len() + page.prefixes.len() == limit {
                page.next = last;
                return Ok(page);
            }
            page.versions
                .push((key.to_owned(), version.clone(), at == 0));
            last = Some((key.to_owned(), Some(version.id)));
        }
    }
    Ok(page)
}

/// A continuation token: the last key or prefix shown, not to be read by clients.
fn token(last: &str) -> String {
    base64_simd::URL_SAFE.encode_to_string(format!("1:{last}"))
}

fn read_token(token: &str) -> Result<String, S3Error> {
    base64_simd::URL_SAFE
        .decode_to_vec(token.as_bytes())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix("1:").map(str::to_owned))
        .ok_or_else(|| {
            invalid_argument(
                "continuation-token",
                token,
                "The continuation token provided is incorrect",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_form_encoded() {
        assert_eq!(
            form_encode("a b/c+d%*~é\r\n"),
            "a+b/c%2Bd%25*%7E%C3%A9%0D%0A"
        );
    }

    #[test]
    fn tokens_are_read_back() {
        assert_eq!(
            read_token(&token("ключ/ 1")).ok().as_deref(),
            Some("ключ/ 1")
        );
        assert!(read_token("x").is_err());
    }

    #[test]
    fn common_prefixes() {
        assert_eq!(common_prefix("a/b/c", "", Some("/")), Some("a/"));
        assert_eq!(common_prefix("a/b/c", "a/", Some("/")), Some("a/b/"));
        assert_eq!(common_prefix("a/b", "a/", Some("/")), None);
        assert_eq!(common_prefix("a/b", "", None), None);
    }
}
