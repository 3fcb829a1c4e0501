//! What s3s does not route by itself: STS, and the annotations of S3, which its types lack.

use std::sync::Arc;

use hyper::http::Extensions;
use hyper::{HeaderMap, Method, Uri};
use s3s::route::S3Route;
use s3s::{Body, S3Error, S3Request, S3Response, S3Result};

use crate::access::Gate;
use crate::error::access_denied;
use crate::exchange::Exchange;
use crate::operation::Operation;
use crate::s3::Service;
use crate::sts::Sts;

/// The routes besides s3s's own. s3s has checked the signature.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    pub(crate) sts: Sts,
    pub(crate) s3: Service,
    pub(crate) gate: Gate,
}

fn exchange(extensions: &Extensions) -> Result<Arc<Exchange>, S3Error> {
    extensions
        .get::<Arc<Exchange>>()
        .cloned()
        .ok_or_else(|| access_denied("Access Denied"))
}

#[async_trait::async_trait]
impl S3Route for Routes {
    fn is_match(
        &self,
        method: &Method,
        uri: &Uri,
        _: &HeaderMap,
        extensions: &mut Extensions,
    ) -> bool {
        exchange(extensions).is_ok_and(|exchange| match exchange.operation {
            Operation::GetObjectAnnotation
            | Operation::ListObjectAnnotations
            | Operation::PutObjectAnnotation => true,
            _ => exchange.is_sts() && method == Method::POST && uri.path() == "/",
        })
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let exchange = exchange(&request.extensions)?;
        if exchange.is_sts() {
            return Sts::admit(request);
        }
        let signed = request.credentials.is_some();
        self.gate
            .admit(&exchange, &request.method, &request.headers, signed)
            .map(|_| ())
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let exchange = exchange(&request.extensions)?;
        match exchange.operation {
            Operation::GetObjectAnnotation => self.s3.annotation(&request),
            Operation::ListObjectAnnotations => self.s3.list_annotations(&request),
            Operation::PutObjectAnnotation => self.s3.put_annotation(request).await,
            _ => self.sts.call(&request, &exchange.request_id),
        }
    }
}
