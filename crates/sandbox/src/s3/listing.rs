//! `ListObjectsV2`, `ListObjectVersions`, `ListMultipartUploads`, `ListParts`, `ListBuckets`.

use std::ops::Bound;

use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, ETag, EncodingType, Initiator, ListBucketsInput,
    ListBucketsOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsV2Input, ListObjectsV2Output,
    ListPartsInput, ListPartsOutput, MultipartUpload, ObjectVersion, Owner,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::headers::Answer;
use super::{Call, Service, checksum_fields, e_tag_value};
use crate::error::{access_denied, invalid_argument};
use crate::store::checksum::{base64, hex};
use crate::store::object::{
    Object, Timestamp, Version, VersionId, canonical_user_id, encrypted_md5,
};
use crate::store::upload::{parse_upload_id, upload_id};

const MAX_PAGE: usize = 1000;

/// How names are written in a listing.
#[derive(Clone, Copy)]
struct Names {
    encoded: bool,
}

impl Names {
    fn of(encoding: Option<&EncodingType>) -> Result<Self, S3Error> {
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

    fn write(self, name: &str) -> String {
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

fn page_size(name: &str, asked: Option<i32>) -> Result<usize, S3Error> {
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
fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: Option<&str>) -> Option<&'a str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let at = key[prefix.len()..].find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

fn prefixes(names: Names, prefixes: &[String]) -> Option<Vec<CommonPrefix>> {
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

fn shown_size(size: u64) -> Option<i64> {
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
        let page = object_page(&call, &prefix, delimiter, after.as_deref(), skip, limit);
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
                checksum_algorithm: Some(vec![
                    object.checksum.algorithm.as_str().to_owned().into(),
                ]),
                checksum_type: Some(object.checksum_type().as_str().to_owned().into()),
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
        let page = version_page(&call, &prefix, input, limit)?;
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
                    checksum_algorithm: Some(vec![
                        object.checksum.algorithm.as_str().to_owned().into(),
                    ]),
                    checksum_type: Some(object.checksum_type().as_str().to_owned().into()),
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

    pub(super) fn list_uploads(
        &self,
        request: &S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let names = Names::of(input.encoding_type.as_ref())?;
        let limit = page_size("max-uploads", input.max_uploads)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let marker_key = input.key_marker.as_deref().filter(|key| !key.is_empty());
        // Without a key marker S3 ignores an upload ID marker.
        let marker_id = input
            .upload_id_marker
            .as_deref()
            .filter(|_| marker_key.is_some())
            .and_then(parse_upload_id);
        let start = marker_key.map(|key| (key.into(), marker_id.unwrap_or(u64::MAX)));
        let (mut uploads, mut groups, mut next): (Vec<MultipartUpload>, Vec<String>, _) =
            (Vec::new(), Vec::new(), None);
        let mut last = None;
        {
            let state = call.bucket.lock();
            let bound: Bound<&(Box<str>, u64)> =
                start.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            for ((key, number), upload) in state
                .uploads
                .range::<(Box<str>, u64), _>((bound, Bound::Unbounded))
            {
                if !key.starts_with(&prefix) {
                    continue;
                }
                let group = common_prefix(key, &prefix, input.delimiter.as_deref());
                if group.is_some_and(|group| {
                    groups.last().is_some_and(|last| last == group) || marker_key == Some(group)
                }) {
                    continue;
                }
                if uploads.len() + groups.len() == limit {
                    next = last;
                    break;
                }
                last = Some(if let Some(group) = group {
                    groups.push(group.to_owned());
                    (group.to_owned(), None)
                } else {
                    uploads.push(shown_upload(names, key, *number, upload));
                    (key.to_string(), Some(upload_id(*number)))
                });
            }
        }
        let (next_key, next_id) = next.map_or((None, None), |(key, id)| (Some(key), id));
        let output = ListMultipartUploadsOutput {
            bucket: Some(input.bucket.clone()),
            prefix: Some(names.write(&prefix)),
            key_marker: Some(names.write(input.key_marker.as_deref().unwrap_or_default())),
            upload_id_marker: Some(input.upload_id_marker.clone().unwrap_or_default()),
            max_uploads: i32::try_from(limit).ok(),
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key.map(|key| names.write(&key)),
            next_upload_id_marker: next_id,
            uploads: Some(uploads),
            common_prefixes: prefixes(names, &groups),
            delimiter: input
                .delimiter
                .as_deref()
                .map(|delimiter| names.write(delimiter)),
            encoding_type: input.encoding_type.clone(),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(charged(&call, output))
    }

    pub(super) fn list_parts_page(
        &self,
        request: &S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let call = self.call(&request.extensions)?;
        let input = &request.input;
        let place = call.upload(&input.upload_id)?;
        let limit = page_size("max-parts", input.max_parts)?;
        let marker = input
            .part_number_marker
            .and_then(|marker| u32::try_from(marker).ok())
            .unwrap_or(0);
        let upload = call.with_upload(&place, |upload| upload.clone())?;
        let page: Vec<_> = upload
            .parts
            .range((Bound::Excluded(marker), Bound::Unbounded))
            .take(limit)
            .collect();
        let last = page.last().map_or(marker, |(number, _)| **number);
        let parts = page
            .into_iter()
            .map(|(number, part)| {
                let md5 = encrypted_md5(&upload.settings.encryption, part.content.md5());
                let mut shown = s3s::dto::Part {
                    part_number: i32::try_from(*number).ok(),
                    e_tag: Some(ETag::Strong(hex(&md5))),
                    size: shown_size(part.content.size()),
                    last_modified: Some(part.modified.into()),
                    ..s3s::dto::Part::default()
                };
                if let Some((algorithm, _)) = upload.checksum {
                    checksum_fields!(shown, algorithm, base64(&part.content.checksum(algorithm)));
                }
                shown
            })
            .collect();
        let truncated = upload
            .parts
            .last_key_value()
            .is_some_and(|(number, _)| *number > last);
        let output = ListPartsOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(input.upload_id.clone()),
            part_number_marker: i32::try_from(marker).ok(),
            next_part_number_marker: i32::try_from(last).ok(),
            max_parts: i32::try_from(limit).ok(),
            is_truncated: Some(truncated),
            parts: Some(parts),
            initiator: Some(initiator(&upload.initiator)),
            owner: Some(owner(&upload.owner)),
            storage_class: Some(upload.settings.storage_class.as_str().to_owned().into()),
            checksum_algorithm: upload
                .checksum
                .map(|(algorithm, _)| algorithm.as_str().to_owned().into()),
            checksum_type: upload
                .checksum
                .map(|(_, kind)| kind.as_str().to_owned().into()),
            ..ListPartsOutput::default()
        };
        Ok(charged(&call, output))
    }
}

fn charged<T>(call: &Call, output: T) -> S3Response<T> {
    let mut answer = Answer::new();
    answer.charged(&call.exchange);
    S3Response::with_headers(output, answer.0)
}

/// S3 shows who began an upload by ARN, and by its last part.
fn initiator(arn: &str) -> Initiator {
    Initiator {
        id: Some(arn.to_owned()),
        display_name: arn.rsplit(['/', ':']).next().map(str::to_owned),
    }
}

fn shown_upload(
    names: Names,
    key: &str,
    number: u64,
    upload: &crate::store::upload::Upload,
) -> MultipartUpload {
    MultipartUpload {
        key: Some(names.write(key)),
        upload_id: Some(upload_id(number)),
        initiated: Some(upload.initiated.into()),
        initiator: Some(initiator(&upload.initiator)),
        owner: Some(owner(&upload.owner)),
        storage_class: Some(upload.settings.storage_class.as_str().to_owned().into()),
        checksum_algorithm: upload
            .checksum
            .map(|(algorithm, _)| algorithm.as_str().to_owned().into()),
        checksum_type: upload
            .checksum
            .map(|(_, kind)| kind.as_str().to_owned().into()),
    }
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
