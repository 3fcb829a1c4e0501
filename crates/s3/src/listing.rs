//! Requests that list a bucket, one page each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::types::EncodingType;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_types::DateTime;
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;

use crate::client::S3Client;
use crate::error::{ErrorKind, Result, S3Error};
use crate::headers::{self, AddHeaders, HeaderPair};
use crate::object::{empty_answer, unquoted};
use crate::operation::Operation;

/// Lists what of a bucket begins with a prefix: up to 1,000 entries.
#[derive(Debug, Clone, Copy)]
pub struct ListObjects<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// What keys begin with.
    pub prefix: &'a str,
    /// Where the page begins.
    pub from: &'a ListFrom,
    /// Other headers.
    pub headers: &'a [HeaderPair],
}

/// Where a page of a listing begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListFrom {
    /// At the first key.
    Start,
    /// Behind this key and all its versions, whether there is such a key or not.
    After(String),
    /// Where the page before ended, as its answer says.
    Next {
        /// A continuation token, or a key marker.
        marker: String,
        /// The version behind which a listing of versions goes on.
        version_id: Option<String>,
    },
}

/// An object of a listing, or one version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key.
    pub key: String,
    /// Its size; 0 of a delete marker.
    pub bytes: u64,
    /// The ETag, without quotes; empty for a delete marker.
    pub e_tag: String,
    /// When it was made.
    pub last_modified: Option<OffsetDateTime>,
    /// The storage class, by S3's word.
    pub storage_class: Option<String>,
    /// The version, in a listing of versions; `null` where the bucket had none.
    pub version_id: Option<String>,
    /// Whether it is the current version of its key.
    pub is_latest: bool,
    /// Whether it is a delete marker.
    pub is_delete_marker: bool,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedPage {
    /// In the order of their keys' bytes. Versions, newest first, come before all delete markers.
    pub objects: Vec<ListedObject>,
    /// Where the next page begins, if there is more.
    pub next: Option<ListFrom>,
}

impl S3Client {
    /// Lists current objects.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
    ///
    /// # Errors
    ///
    /// S3's; `EmptyAnswer` if the page is not whole; `UnreadableAnswer` if a key is not UTF-8.
    pub async fn list_objects_v2(&self, request: ListObjects<'_>) -> Result<ListedPage> {
        let operation = Operation::ListObjectsV2;
        let headers = AddHeaders::new(operation, request.headers).map_err(|error| *error)?;
        let whole = WholeBody::default();
        let (start_after, token) = match request.from {
            ListFrom::Start => (None, None),
            ListFrom::After(key) => (Some(key.clone()), None),
            ListFrom::Next { marker, .. } => (None, Some(marker.clone())),
        };
        let page = self
            .sdk
            .list_objects_v2()
            .bucket(request.bucket)
            .prefix(request.prefix)
            // XML cannot carry every key.
            .encoding_type(EncodingType::Url)
            .set_start_after(start_after)
            .set_continuation_token(token)
            .customize()
            .interceptor(headers)
            .interceptor(whole.clone())
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let answer = Answer {
            operation,
            encoded: page.encoding_type() == Some(&EncodingType::Url),
            request_id: page.request_id(),
        };
        let next = page.next_continuation_token().map(|token| ListFrom::Next {
            marker: token.to_owned(),
            version_id: None,
        });
        let next = answer.next(request.from, page.is_truncated(), next, &whole)?;
        let mut objects = Vec::with_capacity(page.contents().len());
        for object in page.contents() {
            let (Some(e_tag), Some(bytes)) = (object.e_tag(), bytes(object.size())) else {
                return Err(answer.lacks("whole object"));
            };
            objects.push(ListedObject {
                key: answer.key(object.key())?,
                bytes,
                e_tag: unquoted(e_tag),
                last_modified: date(object.last_modified()),
                storage_class: object
                    .storage_class()
                    .map(|class| class.as_str().to_owned()),
                version_id: None,
                is_latest: true,
                is_delete_marker: false,
            });
        }
        Ok(ListedPage { objects, next })
    }

    /// Lists all versions, and delete markers.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>
    ///
    /// # Errors
    ///
    /// As [`list_objects_v2`](Self::list_objects_v2).
    pub async fn list_object_versions(&self, request: ListObjects<'_>) -> Result<ListedPage> {
        let operation = Operation::ListObjectVersions;
        let headers = AddHeaders::new(operation, request.headers).map_err(|error| *error)?;
        let whole = WholeBody::default();
        let (key_marker, version_id_marker) = match request.from {
            ListFrom::Start => (None, None),
            ListFrom::After(key) => (Some(key.clone()), None),
            ListFrom::Next { marker, version_id } => (Some(marker.clone()), version_id.clone()),
        };
        let page = self
            .sdk
            .list_object_versions()
            .bucket(request.bucket)
            .prefix(request.prefix)
            // XML cannot carry every key.
            .encoding_type(EncodingType::Url)
            .set_key_marker(key_marker)
            .set_version_id_marker(version_id_marker)
            .customize()
            .interceptor(headers)
            .interceptor(whole.clone())
            .send()
            .await
            .map_err(|error| S3Error::from_sdk(operation, error))?;
        let answer = Answer {
            operation,
            encoded: page.encoding_type() == Some(&EncodingType::Url),
            request_id: page.request_id(),
        };
        let next = match page.next_key_marker() {
            Some(key) => Some(ListFrom::Next {
                marker: answer.key(Some(key))?,
                version_id: page.next_version_id_marker().map(str::to_owned),
            }),
            None => None,
        };
        let next = answer.next(request.from, page.is_truncated(), next, &whole)?;
        let mut objects = Vec::with_capacity(page.versions().len() + page.delete_markers().len());
        for version in page.versions() {
            let (Some(e_tag), Some(bytes)) = (version.e_tag(), bytes(version.size())) else {
                return Err(answer.lacks("whole version"));
            };
            objects.push(ListedObject {
                key: answer.key(version.key())?,
                bytes,
                e_tag: unquoted(e_tag),
                last_modified: date(version.last_modified()),
                storage_class: version
                    .storage_class()
                    .map(|class| class.as_str().to_owned()),
                version_id: version.version_id().map(str::to_owned),
                is_latest: version.is_latest() == Some(true),
                is_delete_marker: false,
            });
        }
        for marker in page.delete_markers() {
            objects.push(ListedObject {
                key: answer.key(marker.key())?,
                bytes: 0,
                e_tag: String::new(),
                last_modified: date(marker.last_modified()),
                storage_class: None,
                version_id: marker.version_id().map(str::to_owned),
                is_latest: marker.is_latest() == Some(true),
                is_delete_marker: true,
            });
        }
        Ok(ListedPage { objects, next })
    }
}

fn bytes(size: Option<i64>) -> Option<u64> {
    size.and_then(|size| u64::try_from(size).ok())
}

fn date(date: Option<&DateTime>) -> Option<OffsetDateTime> {
    date.and_then(headers::offset_date_time)
}

/// What all entries of an answer have in common.
struct Answer<'a> {
    operation: Operation,
    encoded: bool,
    request_id: Option<&'a str>,
}

impl Answer<'_> {
    fn lacks(&self, what: &str) -> S3Error {
        empty_answer(self.operation, what, self.request_id)
    }

    fn key(&self, key: Option<&str>) -> Result<String> {
        let key = key.ok_or_else(|| self.lacks("key"))?;
        String::from_utf8(decoded(key, self.encoded)).map_err(|_| {
            let message = format!("the listed key {key} is not UTF-8");
            let mut error = S3Error::new(self.operation, ErrorKind::Unreadable, message);
            error.status = Some(200);
            error.request_id = self.request_id.map(str::to_owned);
            error
        })
    }

    /// Where the next page begins. A page that says neither that there is more nor that there is not, or that
    /// more follows where this one began, would lose keys in silence.
    fn next(
        &self,
        from: &ListFrom,
        is_truncated: Option<bool>,
        next: Option<ListFrom>,
        whole: &WholeBody,
    ) -> Result<Option<ListFrom>> {
        if !whole.get() {
            return Err(self.lacks("end"));
        }
        match (is_truncated, next) {
            (Some(false), _) => Ok(None),
            (Some(true), Some(next)) if next != *from => Ok(Some(next)),
            (Some(true), _) => Err(self.lacks("place to go on from")),
            (None, _) => Err(self.lacks("IsTruncated")),
        }
    }
}

/// Tells whether an answer's body has its closing tag: the SDK reads as much as there is of one that breaks off,
/// and a list that breaks off looks like a shorter list.
#[derive(Debug, Clone, Default)]
pub(crate) struct WholeBody(Arc<AtomicBool>);

impl WholeBody {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[dyn_dispatch_hint]
impl Intercept for WholeBody {
    fn name(&self) -> &'static str {
        "WholeBody"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        let body = body.trim_ascii_end();
        let whole = [
            &b"</ListBucketResult>"[..],
            b"</ListVersionsResult>",
            b"</ListObjectAnnotationsOutput>",
            b"</AccessControlPolicy>",
        ]
        .iter()
        .any(|tag| body.ends_with(tag));
        self.0.store(whole, Ordering::Relaxed);
        Ok(())
    }
}

/// A key's bytes: form style if the answer says that it is encoded, which a store may leave.
pub(crate) fn decoded(key: &str, encoded: bool) -> Vec<u8> {
    if !encoded {
        return key.into();
    }
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_keys_are_form_encoded() {
        let text = |key, encoded| String::from_utf8(decoded(key, encoded)).unwrap();
        assert_eq!(text("a+b%2Bc%20d%25/%C3%BC", true), "a b+c d%/ü");
        assert_eq!(text("a%0Ab%0Dc", true), "a\nb\rc");
        assert_eq!(text("100%", true), "100%");
        assert_eq!(text("a+b%2B", false), "a+b%2B");
        assert_eq!(decoded("a%FF", true), b"a\xff");
    }
}
