//! What the headers of an answer show.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::authorize::Shown;
use crate::exchange::Exchange;
use crate::store::bucket::{BucketSettings, FoundObject, Versioning};
use crate::store::checksum::base64;
use crate::store::object::{
    ArchiveTier, Encryption, Object, PartLayout, Restore, StorageClass, Timestamp, VersionId,
};

/// Adds headers to an answer; values that cannot stand in one are left out.
pub(super) struct Answer(pub(super) HeaderMap);

impl Answer {
    pub(super) fn new() -> Self {
        Self(HeaderMap::new())
    }

    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.insert(HeaderName::from_static(name), value);
        }
    }

    fn set_some(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Encryption, as every answer to a write or read shows it.
    pub(super) fn encryption(&mut self, encryption: &Encryption) {
        if let Some(md5) = &encryption.customer_key_md5 {
            self.set("x-amz-server-side-encryption-customer-algorithm", "AES256");
            self.set("x-amz-server-side-encryption-customer-key-md5", md5);
            return;
        }
        self.set("x-amz-server-side-encryption", encryption.algorithm());
        self.set_some(
            "x-amz-server-side-encryption-aws-kms-key-id",
            encryption.kms_key_id.as_deref(),
        );
        if encryption.bucket_key {
            self.set("x-amz-server-side-encryption-bucket-key-enabled", "true");
        }
    }

    /// The version ID, where the bucket has or had versioning.
    pub(super) fn version(&mut self, settings: &BucketSettings, id: VersionId) {
        if settings.versioning != Versioning::Unversioned {
            self.set("x-amz-version-id", &id.to_string());
        }
    }

    pub(super) fn checksum(&mut self, object: &Object) {
        if object.checksum.is_missing {
            return;
        }
        self.set(object.checksum.algorithm.header(), &object.checksum_value());
        self.set("x-amz-checksum-type", object.checksum_type().as_str());
    }

    /// The checksum of a part, which S3 shows in place of the object's if a part is asked for.
    pub(super) fn part_checksum(&mut self, object: &Object, part: &PartLayout) {
        if let Some(checksum) = &part.checksum {
            self.set(object.checksum.algorithm.header(), &base64(checksum));
            self.set("x-amz-checksum-type", object.checksum_type().as_str());
        }
    }

    /// All that HEAD and GET show but size, range, user metadata and checksum.
    pub(super) fn object(&mut self, found: &FoundObject, settings: &BucketSettings, shown: Shown) {
        let object = &*found.object;
        let metadata = &object.metadata;
        self.set("accept-ranges", "bytes");
        self.set("etag", &format!("\"{}\"", object.e_tag()));
        self.set("last-modified", &http_date(found.modified.date()));
        self.set(
            "content-type",
            metadata
                .content_type
                .as_deref()
                .unwrap_or("binary/octet-stream"),
        );
        self.set_some("cache-control", metadata.cache_control.as_deref());
        self.set_some(
            "content-disposition",
            metadata.content_disposition.as_deref(),
        );
        self.set_some("content-encoding", metadata.content_encoding.as_deref());
        self.set_some("content-language", metadata.content_language.as_deref());
        self.set_some("expires", metadata.expires.as_deref());
        self.version(settings, found.id);
        self.encryption(&object.settings.encryption);
        if object.settings.storage_class != StorageClass::Standard {
            self.set(
                "x-amz-storage-class",
                object.settings.storage_class.as_str(),
            );
        }
        self.set_some(
            "x-amz-website-redirect-location",
            object.settings.website_redirect_location.as_deref(),
        );
        if metadata.missing > 0 {
            self.set("x-amz-missing-meta", &metadata.missing.to_string());
        }
        self.restore(object.restore);
        self.set_some(
            "x-amz-archive-status",
            object.archive_tier.map(ArchiveTier::as_str),
        );
        if shown.tag_count {
            self.set("x-amz-tagging-count", &object.tags.len().to_string());
        }
        if let Some((mode, until)) = object
            .settings
            .lock
            .retention
            .as_ref()
            .filter(|_| shown.retention)
        {
            self.set("x-amz-object-lock-mode", mode);
            self.set(
                "x-amz-object-lock-retain-until-date",
                &until.format(&Rfc3339).unwrap_or_default(),
            );
        }
        if shown.legal_hold {
            self.set("x-amz-object-lock-legal-hold", "ON");
        }
    }

    fn restore(&mut self, restore: Restore) {
        match restore {
            Restore::Ongoing { .. } => self.set("x-amz-restore", "ongoing-request=\"true\""),
            Restore::Done { until } if until > Timestamp::now() => {
                let date = http_date(until.date());
                self.set(
                    "x-amz-restore",
                    &format!("ongoing-request=\"false\", expiry-date=\"{date}\""),
                );
            }
            Restore::None | Restore::Done { .. } => {}
        }
    }

    pub(super) fn charged(&mut self, exchange: &Exchange) {
        if exchange.is_charged() {
            self.set("x-amz-request-charged", "requester");
        }
    }
}

/// Formats a date as HTTP does.
pub(crate) fn http_date(date: OffsetDateTime) -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    date.format(&format).unwrap_or_default()
}
