//! A bucket's lifecycle rules, as far as a copy's leftovers are about them.

use s3s::dto::{
    AbortIncompleteMultipartUpload, DeleteBucketLifecycleInput, DeleteBucketLifecycleOutput,
    ExpirationStatus, GetBucketLifecycleConfigurationInput, GetBucketLifecycleConfigurationOutput,
    LifecycleExpiration, LifecycleRule as RuleElement, LifecycleRuleFilter,
    PutBucketLifecycleConfigurationInput, PutBucketLifecycleConfigurationOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::Service;
use super::bucket::MALFORMED_XML;
use crate::error::{error, not_implemented, with_detail};
use crate::store::bucket::{Bucket, BucketSettings, LifecycleRule};

impl Service {
    pub(super) fn lifecycle(
        &self,
        request: &S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        let call = self.call(&request.extensions)?;
        let rules = call.bucket.settings().lifecycle.clone();
        if rules.is_empty() {
            let message = "The lifecycle configuration does not exist";
            let refused = error(404, "NoSuchLifecycleConfiguration", message);
            return Err(with_detail(refused, "BucketName", &call.bucket.name));
        }
        let output = GetBucketLifecycleConfigurationOutput {
            rules: Some(rules.into_iter().map(element).collect()),
            ..GetBucketLifecycleConfigurationOutput::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) fn put_lifecycle(
        &self,
        request: &S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
        let call = self.call(&request.extensions)?;
        let elements = request
            .input
            .lifecycle_configuration
            .as_ref()
            .map(|configuration| configuration.rules.as_slice())
            .unwrap_or_default();
        if elements.is_empty() || elements.len() > 1000 {
            return Err(malformed());
        }
        let rules: Result<Vec<LifecycleRule>, S3Error> =
            elements.iter().enumerate().map(rule).collect();
        set(&call.bucket, rules?);
        Ok(S3Response::new(
            PutBucketLifecycleConfigurationOutput::default(),
        ))
    }

    pub(super) fn delete_lifecycle(
        &self,
        request: &S3Request<DeleteBucketLifecycleInput>,
    ) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
        let call = self.call(&request.extensions)?;
        set(&call.bucket, Vec::new());
        Ok(S3Response::new(DeleteBucketLifecycleOutput::default()))
    }
}

fn set(bucket: &Bucket, lifecycle: Vec<LifecycleRule>) {
    let mut state = bucket.lock();
    state.settings = BucketSettings {
        lifecycle,
        ..(*state.settings).clone()
    }
    .into();
}

fn malformed() -> S3Error {
    error(400, "MalformedXML", MALFORMED_XML)
}

/// Reads a rule; what of it is not kept is refused.
fn rule((index, element): (usize, &RuleElement)) -> Result<LifecycleRule, S3Error> {
    let filter = element.filter.as_ref();
    let unknown = [
        (
            "Filter",
            filter.is_some_and(|filter| {
                filter.and.is_some()
                    || filter.tag.is_some()
                    || filter.object_size_greater_than.is_some()
                    || filter.object_size_less_than.is_some()
            }),
        ),
        (
            "Expiration",
            element.expiration.as_ref().is_some_and(|expiration| {
                expiration.date.is_some() || expiration.expired_object_delete_marker.is_some()
            }),
        ),
        (
            "NoncurrentVersionExpiration",
            element.noncurrent_version_expiration.is_some(),
        ),
        (
            "NoncurrentVersionTransition",
            element.noncurrent_version_transitions.is_some(),
        ),
        ("Transition", element.transitions.is_some()),
    ];
    if let Some((name, _)) = unknown.iter().find(|(_, there)| *there) {
        return Err(not_implemented("Element", name));
    }
    let prefix = match (filter, &element.prefix) {
        (Some(filter), None) => filter.prefix.clone().unwrap_or_default(),
        (None, Some(prefix)) => prefix.clone(),
        _ => return Err(malformed()),
    };
    let disabled = match element.status.as_str() {
        ExpirationStatus::ENABLED => false,
        ExpirationStatus::DISABLED => true,
        _ => return Err(malformed()),
    };
    let rule = LifecycleRule {
        id: element
            .id
            .clone()
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| format!("rule-{}", index + 1)),
        disabled,
        prefix,
        expiration_days: element
            .expiration
            .as_ref()
            .and_then(|expiration| expiration.days),
        abort_incomplete_multipart_upload_days: element
            .abort_incomplete_multipart_upload
            .as_ref()
            .and_then(|abort| abort.days_after_initiation),
    };
    let days = [
        rule.expiration_days,
        rule.abort_incomplete_multipart_upload_days,
    ];
    if days == [None, None] {
        let message = "At least one action needs to be specified in a rule";
        return Err(error(400, "InvalidRequest", message));
    }
    if days.into_iter().flatten().any(|days| days < 1) {
        let message = "'Days' for lifecycle actions must be a positive integer";
        return Err(error(400, "InvalidArgument", message));
    }
    Ok(rule)
}

fn element(rule: LifecycleRule) -> RuleElement {
    let status = if rule.disabled {
        ExpirationStatus::DISABLED
    } else {
        ExpirationStatus::ENABLED
    };
    RuleElement {
        abort_incomplete_multipart_upload: rule.abort_incomplete_multipart_upload_days.map(
            |days| AbortIncompleteMultipartUpload {
                days_after_initiation: Some(days),
            },
        ),
        expiration: rule.expiration_days.map(|days| LifecycleExpiration {
            days: Some(days),
            ..LifecycleExpiration::default()
        }),
        filter: Some(LifecycleRuleFilter {
            prefix: Some(rule.prefix),
            ..LifecycleRuleFilter::default()
        }),
        id: Some(rule.id),
        noncurrent_version_expiration: None,
        noncurrent_version_transitions: None,
        prefix: None,
        status: ExpirationStatus::from_static(status),
        transitions: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{LifecycleRule, element, rule};

    #[test]
    fn rules_are_shown_as_they_were_set() {
        for (id, disabled, prefix, expiration_days, abort_days) in [
            ("a", false, "", Some(30), None),
            ("b", true, "logs/", None, Some(7)),
            ("c", false, "x", Some(1), Some(1)),
        ] {
            let set = LifecycleRule {
                id: id.to_owned(),
                disabled,
                prefix: prefix.to_owned(),
                expiration_days,
                abort_incomplete_multipart_upload_days: abort_days,
            };
            assert_eq!(rule((0, &element(set.clone()))).unwrap(), set);
        }
    }

    #[test]
    fn rules_that_do_nothing_or_too_much_are_refused() {
        let nothing = element(LifecycleRule::default());
        assert_eq!(
            rule((0, &nothing)).unwrap_err().code().as_str(),
            "InvalidRequest"
        );
        let never = element(LifecycleRule {
            expiration_days: Some(0),
            ..LifecycleRule::default()
        });
        assert_eq!(
            rule((0, &never)).unwrap_err().code().as_str(),
            "InvalidArgument"
        );
        let mut moves = element(LifecycleRule {
            expiration_days: Some(1),
            ..LifecycleRule::default()
        });
        moves.transitions = Some(Vec::new());
        assert_eq!(
            rule((0, &moves)).unwrap_err().code().as_str(),
            "NotImplemented"
        );
    }
}
