//! What goes over the wire, and what is made of what comes back.

use std::borrow::Cow;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::test_server::{Answer, TestServer};
use crate::throttle::{Lane, Throttle, ThrottleOptions};
use crate::{
    Class, ClientOptions, CompleteMultipartUpload, CopyObject, CopySource, Credentials, ErrorKind,
    HeadObject, HeaderPair, HttpClient, ListFrom, ListObjects, ListedPage, OnDoubt, Operation,
    PutObject, Requests, RetryOptions, S3Client, S3Error, Tag, Tally, UploadPartCopy, find_region,
};

const COPIED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
    <LastModified>2026-01-02T03:04:05.000Z</LastModified>\
    <ETag>&quot;9b2cf535f27731c974343645a3985328&quot;</ETag></CopyObjectResult>";

fn source() -> CopySource {
    CopySource {
        bucket: "from".into(),
        key: "a+b c?.txt".into(),
        version_id: Some("v1".into()),
    }
}

async fn copy(client: &S3Client, headers: &[HeaderPair]) -> crate::Result<crate::Copied> {
    let source = source();
    client
        .copy_object(CopyObject {
            bucket: "to",
            key: "a+b c?.txt",
            source: &source,
            headers,
        })
        .await
}

async fn copied_error(answer: Answer) -> S3Error {
    let server = TestServer::start(vec![answer]).await;
    let client = server.client(&Credentials::fixed());
    copy(&client, &[]).await.unwrap_err()
}

#[tokio::test]
async fn headers_are_signed_and_the_answer_is_whole() {
    let answer = Answer::Whole(
        200,
        &[
            ("x-amz-version-id", "v2"),
            ("x-amz-copy-source-version-id", "v1"),
        ],
        COPIED,
    );
    let server = TestServer::start(vec![answer]).await;
    let client = server.client(&Credentials::fixed());
    let headers: [HeaderPair; 2] = [
        (
            Cow::Borrowed("x-amz-expected-bucket-owner"),
            "111122223333".into(),
        ),
        (Cow::Borrowed("x-amz-meta-ü"), "x".into()),
    ];
    let copied = copy(&client, &headers[..1]).await.unwrap();
    assert_eq!(copied.e_tag, "9b2cf535f27731c974343645a3985328");
    assert_eq!(copied.version_id.as_deref(), Some("v2"));
    assert_eq!(copied.source_version_id.as_deref(), Some("v1"));
    assert_eq!(
        copied.last_modified.unwrap().unix_timestamp(),
        1_767_323_045
    );

    let request = &server.requests()[0];
    assert!(request.starts_with("PUT /to/a%2Bb%20c%3F.txt"), "{request}");
    assert!(request.contains("x-amz-copy-source: from/a%2Bb%20c%3F.txt?versionId=v1\r\n"));
    assert!(request.contains("x-amz-expected-bucket-owner: 111122223333\r\n"));
    let (_, signed) = request.split_once("SignedHeaders=").unwrap();
    let (signed, _) = signed.split_once(',').unwrap();
    assert!(
        signed
            .split(';')
            .any(|name| name == "x-amz-expected-bucket-owner"),
        "{signed}"
    );
    // Nothing that the caller did not ask for.
    assert!(!request.contains("checksum"), "{request}");

    let error = copy(&client, &headers).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotBuilt);
    assert_eq!(error.class(), Class::Permanent);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_error_inside_a_200() {
    let error = copied_error(Answer::Whole(
        200,
        &[("x-amz-request-id", "R1"), ("x-amz-id-2", "E1")],
        "<?xml version=\"1.0\"?>\n  \n<Error><Code>InternalError</Code>\
         <Message>We encountered an internal error.</Message></Error>",
    ))
    .await;
    assert_eq!(error.kind, ErrorKind::Answered);
    assert_eq!(error.status, Some(200));
    assert_eq!(error.code.as_deref(), Some("InternalError"));
    assert_eq!(error.request_id.as_deref(), Some("R1"));
    assert_eq!(error.extended_request_id.as_deref(), Some("E1"));
    assert!(error.is_in_doubt());
    assert_eq!(
        error.to_string(),
        "CopyObject: 200 InternalError: We encountered an internal error. (request ID R1)"
    );
}

#[tokio::test]
async fn white_space_while_s3_works() {
    for body in [
        "  \n<Error><Code>SlowDown</Code><Message>m</Message></Error>",
        "  \n<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>m</Message></Error>",
    ] {
        let error = copied_error(Answer::Whole(200, &[], body)).await;
        assert_eq!(error.kind, ErrorKind::Answered, "{body}");
        assert_eq!(error.class(), Class::Throttled, "{body}");
        assert_eq!(error.message, "m", "{body}");
    }
}

#[tokio::test]
async fn a_200_without_a_result() {
    for body in [
        "",
        "<CopyObjectResult></CopyObjectResult>",
        "<CopyObjectResult><ETag></ETag></CopyObjectResult>",
        "<CopyObjectResult><ETag>&quot;&quot;</ETag></CopyObjectResult>",
        "<CopyObjectResult><ETag>&quot;9b2c",
        "surprise",
    ] {
        let error = copied_error(Answer::Whole(200, &[], body)).await;
        assert_eq!(error.kind, ErrorKind::EmptyAnswer, "{body}");
        assert_eq!(error.report_code(), "EmptyAnswer", "{body}");
        assert!(error.is_in_doubt(), "{body}");
    }
}

#[tokio::test]
async fn what_an_error_says() {
    let error = copied_error(Answer::Whole(
        412,
        &[("x-amz-bucket-region", "us-west-2"), ("retry-after", "7")],
        "<Error><Code>PreconditionFailed</Code><Message>At least one</Message>\
         <Condition>x-amz-copy-source-If-Match</Condition><RequestId>R</RequestId></Error>",
    ))
    .await;
    assert_eq!(error.report_code(), "PreconditionFailed");
    assert_eq!(
        error.condition.as_deref(),
        Some("x-amz-copy-source-If-Match")
    );
    assert_eq!(error.bucket_region.as_deref(), Some("us-west-2"));
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    assert!(error.source.is_none());
    assert!(!error.is_in_doubt());
}

#[tokio::test]
async fn answers_that_do_not_come() {
    for answer in [Answer::Closed, Answer::Cut] {
        let error = copied_error(answer).await;
        assert_eq!(error.kind, ErrorKind::AnswerLost, "{error:?}");
        assert!(error.is_in_doubt());
        assert!(error.source.is_some());
    }
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ClientOptions {
        region: "eu-west-1".into(),
        endpoint_url: Some(format!("http://{}", listener.local_addr().unwrap())),
        force_path_style: true,
        max_connections: 4,
    };
    drop(listener);
    let client = S3Client::new(
        &HttpClient::new(4, &crate::Network::default()),
        &options,
        &Credentials::fixed(),
    );
    let error = copy(&client, &[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotSent, "{error:?}");
    assert_eq!(error.report_code(), "ConnectionFailed");
    assert!(!error.is_in_doubt());

    let nowhere = ClientOptions {
        endpoint_url: Some("http://nowhere.invalid".into()),
        ..options
    };
    let client = S3Client::new(
        &HttpClient::new(4, &crate::Network::default()),
        &nowhere,
        &Credentials::fixed(),
    );
    let error = copy(&client, &[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotSent, "{error:?}");
}

#[tokio::test]
async fn a_silent_body_is_timed_out_and_its_connection_closed() {
    let server = TestServer::start(vec![Answer::Silent, Answer::Whole(200, &[], COPIED)]).await;
    let credentials = Credentials::fixed();
    let client = server.client(&credentials);
    let retry = RetryOptions {
        attempt_timeout: Some(Duration::from_millis(200)),
        ..RetryOptions::default()
    };
    let throttle = Throttle::new(&ThrottleOptions::default());
    let requests = Requests::new(throttle.clone(), credentials, retry);
    let mut tally = Tally::default();
    let send = async |tally: &mut Tally, on_doubt| {
        requests
            .send(
                tally,
                Lane::Small,
                Operation::CopyObject,
                Some(1),
                on_doubt,
                || copy(&client, &[]),
            )
            .await
    };
    let error = send(&mut tally, OnDoubt::Return).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert_eq!(error.report_code(), "RequestTimedOut");
    assert_eq!(
        (tally.requests, tally.attempts, tally.in_doubt),
        (1, 1, true)
    );
    assert_eq!(throttle.in_flight(), 0);
    send(&mut tally, OnDoubt::Return).await.unwrap();
    let log = server.requests();
    assert!(log.contains(&"closed".to_owned()), "{log:?}");
}

#[tokio::test]
async fn head_keeps_headers_as_they_came() {
    let answer = Answer::Whole(
        200,
        &[
            ("Content-Length", "12345678901"),
            ("ETag", "\"abc-7\""),
            ("Last-Modified", "Tue, 15 Nov 2022 08:12:31 GMT"),
            ("Date", "Wed, 16 Nov 2022 08:12:31 GMT"),
            ("Expires", "not a date"),
            ("X-Amz-Meta-Key", "Välue"),
            ("x-amz-mp-parts-count", "7"),
            ("x-amz-missing-meta", "2"),
            ("x-amz-version-id", "v"),
        ],
        "",
    );
    let server = TestServer::start(vec![answer, Answer::Whole(404, &[], "")]).await;
    let client = server.client(&Credentials::fixed());
    let request = HeadObject {
        bucket: "b",
        key: "k",
        version_id: Some("v"),
        part_number: Some(1),
        headers: &[],
    };
    let head = client.head_object(request).await.unwrap();
    assert_eq!(head.bytes, 12_345_678_901);
    assert_eq!(head.e_tag, "abc-7");
    assert_eq!(head.version_id.as_deref(), Some("v"));
    assert_eq!(head.header("expires"), Some("not a date"));
    assert_eq!(head.header("x-amz-meta-key"), Some("Välue"));
    assert_eq!(head.parts_count(), Some(7));
    assert_eq!(head.missing_meta(), 2);
    assert_eq!(head.last_modified.unwrap().unix_timestamp(), 1_668_499_951);
    assert_eq!(head.date.unwrap().unix_timestamp(), 1_668_586_351);
    let request_text = &server.requests()[0];
    assert!(request_text.starts_with("HEAD /b/k?"), "{request_text}");
    assert!(request_text.contains("partNumber=1") && request_text.contains("versionId=v"));

    let error = client.head_object(request).await.unwrap_err();
    assert_eq!(error.report_code(), "NotFound");
    assert_eq!(error.message, "NotFound");
}

#[tokio::test]
async fn regions_come_with_refusals_too() {
    let region: &[(&str, &str)] = &[("x-amz-bucket-region", "ap-south-1")];
    let answers = [200, 301, 400, 403].map(|status| Answer::Whole(status, region, ""));
    let server = TestServer::start(answers.into()).await;
    let client = server.client(&Credentials::fixed());
    for _ in 0..4 {
        let facts = find_region(&client, "b").await.unwrap();
        assert_eq!(facts.region.as_deref(), Some("ap-south-1"));
    }
    assert!(
        server
            .requests()
            .iter()
            .all(|r| !r.contains("expected-bucket-owner"))
    );
}

#[tokio::test]
async fn the_requests_of_an_upload() {
    let created = "<InitiateMultipartUploadResult><UploadId>U/1+</UploadId>\
        </InitiateMultipartUploadResult>";
    let part = "<CopyPartResult><ETag>&quot;p1&quot;</ETag>\
        <ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME></CopyPartResult>";
    let completed = "\n \n<CompleteMultipartUploadResult><ETag>&quot;e-1&quot;</ETag>\
        </CompleteMultipartUploadResult>";
    let server = TestServer::start(vec![
        Answer::Whole(200, &[], created),
        Answer::Whole(200, &[], part),
        Answer::Whole(200, &[("x-amz-version-id", "v")], completed),
    ])
    .await;
    let client = server.client(&Credentials::fixed());
    let source = source();
    let (bucket, key) = ("b", "k");
    let created = client
        .create_multipart_upload(crate::CreateMultipartUpload {
            bucket,
            key,
            headers: &[],
        })
        .await
        .unwrap();
    assert_eq!(created.upload_id, "U/1+");
    let upload_id = created.upload_id.as_str();
    let part = client
        .upload_part_copy(UploadPartCopy {
            bucket,
            key,
            upload_id,
            part_number: 3,
            source: &source,
            range: Some((10, 19)),
            headers: &[],
        })
        .await
        .unwrap();
    assert_eq!((part.part_number, part.e_tag.as_str()), (3, "p1"));
    assert_eq!(
        part.checksum.as_ref().unwrap().algorithm.name(),
        "CRC64NVME"
    );
    let completed = client
        .complete_multipart_upload(CompleteMultipartUpload {
            bucket,
            key,
            upload_id,
            parts: &[part],
            object_bytes: 10,
            headers: &[],
        })
        .await
        .unwrap();
    assert_eq!(completed.e_tag, "e-1");
    assert_eq!(completed.version_id.as_deref(), Some("v"));

    let log = server.requests();
    // The SDK would add an algorithm of its own choice if it were let.
    assert!(!log[0].contains("checksum"), "{}", log[0]);
    assert!(
        log[1].contains("x-amz-copy-source-range: bytes=10-19\r\n"),
        "{}",
        log[1]
    );
    // Some stores refuse a PUT that does not say that it has no body.
    assert!(log[1].contains("content-length: 0\r\n"), "{}", log[1]);
    assert!(
        log[2].contains("x-amz-mp-object-size: 10\r\n"),
        "{}",
        log[2]
    );
    assert!(log[2].contains("<ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME>"));
    assert!(log[2].contains("<PartNumber>3</PartNumber>"), "{}", log[2]);
    assert!(log[2].contains("<ETag>\"p1\"</ETag>") || log[2].contains("&quot;p1&quot;"));
}

#[tokio::test]
async fn listings_go_on_to_their_end() {
    let parts = [
        "<ListPartsResult><IsTruncated>true</IsTruncated>\
         <NextPartNumberMarker>1</NextPartNumberMarker>\
         <Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag><Size>5</Size>\
         <ChecksumSHA256>S=</ChecksumSHA256></Part></ListPartsResult>",
        "<ListPartsResult><IsTruncated>false</IsTruncated>\
         <Part><PartNumber>2</PartNumber><ETag>\"b\"</ETag><Size>6</Size></Part></ListPartsResult>",
    ];
    let uploads = [
        "<ListMultipartUploadsResult><EncodingType>url</EncodingType>\
         <IsTruncated>true</IsTruncated><NextKeyMarker>a+%2B</NextKeyMarker>\
         <NextUploadIdMarker>U1</NextUploadIdMarker><Upload><Key>a+%2B</Key>\
         <UploadId>U1</UploadId><Initiator><ID>arn:x</ID><DisplayName>n</DisplayName></Initiator>\
         <Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload></ListMultipartUploadsResult>",
        "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>a+b</Key>\
         <UploadId>U2</UploadId></Upload></ListMultipartUploadsResult>",
    ];
    let answers = parts.into_iter().chain(uploads);
    let answers = answers.map(|body| Answer::Whole(200, &[], body)).collect();
    let server = TestServer::start(answers).await;
    let client = server.client(&Credentials::fixed());
    let parts = client.list_parts("b", "k", "U", &[]).await.unwrap();
    let listed: Vec<_> = parts
        .iter()
        .map(|p| (p.part_number, p.e_tag.as_str(), p.bytes))
        .collect();
    assert_eq!(listed, [(1, "a", 5), (2, "b", 6)]);
    assert_eq!(
        parts[0].checksum.as_ref().unwrap().algorithm.name(),
        "SHA256"
    );

    let uploads = client.list_multipart_uploads("b", "a", &[]).await.unwrap();
    assert_eq!(uploads[0].key, "a +");
    assert_eq!(uploads[0].initiator_id.as_deref(), Some("arn:x"));
    assert_eq!(
        uploads[0].initiated.unwrap().unix_timestamp(),
        1_767_323_045
    );
    assert_eq!(uploads[1].key, "a+b");
    let log = server.requests();
    assert!(log[1].contains("part-number-marker=1"), "{}", log[1]);
    assert!(log[3].contains("key-marker=a%20%2B"), "{}", log[3]);
    assert!(log[3].contains("upload-id-marker=U1"), "{}", log[3]);
}

#[tokio::test]
async fn a_delete_says_whether_it_added_a_marker() {
    let marker: &[(&str, &str)] = &[("x-amz-delete-marker", "true"), ("x-amz-version-id", "m1")];
    let server = TestServer::start(vec![
        Answer::Whole(204, marker, ""),
        Answer::Whole(204, &[], ""),
    ])
    .await;
    let client = server.client(&Credentials::fixed());
    let owner: HeaderPair = (
        Cow::Borrowed("x-amz-expected-bucket-owner"),
        "111122223333".into(),
    );
    let deleted = client
        .delete_object("b", "a+b", None, &[owner])
        .await
        .unwrap();
    assert!(deleted.delete_marker);
    assert_eq!(deleted.version_id.as_deref(), Some("m1"));
    // A bucket without versions has forgotten the object.
    let gone = client.delete_object("b", "k", None, &[]).await.unwrap();
    assert!(!gone.delete_marker && gone.version_id.is_none());
    let request = &server.requests()[0];
    assert!(request.starts_with("DELETE /b/a%2Bb"), "{request}");
    assert!(!request.contains("versionId"), "{request}");
    assert!(request.contains("x-amz-expected-bucket-owner: 111122223333\r\n"));
}

#[tokio::test]
async fn versioning_is_said_in_s3s_words() {
    let status = |status: &str| {
        let body = format!("<VersioningConfiguration>{status}</VersioningConfiguration>");
        Answer::Whole(200, &[], body.leak())
    };
    let server = TestServer::start(vec![
        status("<Status>Enabled</Status>"),
        status("<Status>Suspended</Status>"),
        status(""),
    ])
    .await;
    let client = server.client(&Credentials::fixed());
    for expected in [Some("Enabled"), Some("Suspended"), None] {
        let status = client.get_bucket_versioning("b", &[]).await.unwrap();
        assert_eq!(status.as_deref(), expected);
    }
    let request = &server.requests()[0];
    assert!(request.starts_with("GET /b?versioning") || request.starts_with("GET /b/?versioning"));
}

#[tokio::test]
async fn tags_go_there_and_back() {
    let tags = "<Tagging><TagSet><Tag><Key>a &amp; b</Key><Value></Value></Tag></TagSet></Tagging>";
    let server = TestServer::start(vec![
        Answer::Whole(200, &[], tags),
        Answer::Whole(200, &[], ""),
    ])
    .await;
    let client = server.client(&Credentials::fixed());
    let tags = client
        .get_object_tagging("b", "k", None, &[])
        .await
        .unwrap();
    let expected = Tag {
        key: "a & b".into(),
        value: String::new(),
    };
    assert_eq!(tags, [expected]);
    client
        .put_object_tagging("b", "k", Some("v"), &tags, &[])
        .await
        .unwrap();
    let log = server.requests();
    assert!(
        log[1].contains("<Key>a &amp; b</Key><Value></Value>"),
        "{}",
        log[1]
    );
}

const OBJECTS: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult>\
    <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><KeyCount>3</KeyCount>\
    <NextContinuationToken>T+/=</NextContinuationToken>\
    <Contents><Key>a+b/%2B%0D%25</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>\
    <ETag>&quot;e-2&quot;</ETag><Size>6442450944</Size><StorageClass>GLACIER</StorageClass></Contents>\
    <Contents><Key>%C3%BC</Key><ETag>\"f\"</ETag><Size>0</Size></Contents>\
    <CommonPrefixes><Prefix>x+y/</Prefix></CommonPrefixes></ListBucketResult>\n";
const OBJECTS_END: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";

fn list<'a>(prefix: &'a str, from: &'a ListFrom) -> ListObjects<'a> {
    ListObjects {
        bucket: "b",
        prefix,
        from,
        headers: &[],
    }
}

#[tokio::test]
async fn a_page_of_objects() {
    let answers = [OBJECTS, OBJECTS_END, OBJECTS_END];
    let answers = answers.map(|body| Answer::Whole(200, &[], body)).into();
    let server = TestServer::start(answers).await;
    let client = server.client(&Credentials::fixed());
    let page = client
        .list_objects_v2(list("a ", &ListFrom::Start))
        .await
        .unwrap();
    let first = &page.objects[0];
    assert_eq!(first.key, "a b/+\r%");
    assert_eq!((first.bytes, first.e_tag.as_str()), (6 << 30, "e-2"));
    let date = first.last_modified.unwrap();
    assert_eq!(date.unix_timestamp_nanos(), 1_767_323_045_678_000_000);
    assert_eq!(first.storage_class.as_deref(), Some("GLACIER"));
    assert!(first.is_latest && !first.is_delete_marker && first.version_id.is_none());
    assert_eq!(page.objects[1].key, "ü");
    let next = page.next.unwrap();
    let end = client.list_objects_v2(list("a ", &next)).await.unwrap();
    assert_eq!(end, ListedPage::default());
    let after = ListFrom::After("a+\u{1}".into());
    client.list_objects_v2(list("", &after)).await.unwrap();

    let log = server.requests();
    for part in ["list-type=2", "encoding-type=url", "prefix=a%20"] {
        assert!(log[0].contains(part), "{part}: {}", log[0]);
    }
    assert!(!log[0].contains("start-after") && !log[0].contains("max-keys"));
    assert!(
        log[1].contains("continuation-token=T%2B%2F%3D"),
        "{}",
        log[1]
    );
    assert!(log[2].contains("start-after=a%2B%01"), "{}", log[2]);
}

#[tokio::test]
async fn a_page_of_versions() {
    let versions = "<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
        <NextKeyMarker>k+2</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>\
        <Version><Key>k+1</Key><VersionId>v2</VersionId><IsLatest>false</IsLatest>\
        <ETag>&quot;e&quot;</ETag><Size>7</Size></Version>\
        <DeleteMarker><Key>k+1</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest></DeleteMarker>\
        </ListVersionsResult>";
    let end = "<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>";
    let answers = [versions, end].map(|body| Answer::Whole(200, &[], body));
    let server = TestServer::start(answers.into()).await;
    let client = server.client(&Credentials::fixed());
    let after = ListFrom::After("k".into());
    let page = client.list_object_versions(list("k", &after)).await;
    let page = page.unwrap();
    let [version, marker] = &page.objects[..] else {
        panic!("{page:?}");
    };
    assert_eq!((version.key.as_str(), version.bytes), ("k 1", 7));
    assert_eq!(version.version_id.as_deref(), Some("v2"));
    assert!(!version.is_latest && !version.is_delete_marker);
    assert!(marker.is_latest && marker.is_delete_marker);
    let next = page.next.unwrap();
    let end = client.list_object_versions(list("k", &next)).await;
    assert_eq!(end.unwrap().next, None);
    let log = server.requests();
    assert!(log[0].contains("key-marker=k&"), "{}", log[0]);
    assert!(!log[0].contains("version-id-marker"), "{}", log[0]);
    assert!(log[1].contains("key-marker=k%202"), "{}", log[1]);
    assert!(log[1].contains("version-id-marker=v1"), "{}", log[1]);
}

#[tokio::test]
async fn a_page_that_is_not_whole_is_no_page() {
    let begun = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key>\
        <ETag>e</ETag><Size>1</Size></Contents>";
    let silent = "<ListBucketResult></ListBucketResult>";
    let endless = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
    let same = "<ListBucketResult><IsTruncated>true</IsTruncated>\
        <NextContinuationToken>T</NextContinuationToken></ListBucketResult>";
    let from = ListFrom::Next {
        marker: "T".into(),
        version_id: None,
    };
    for body in [begun, silent, endless, same] {
        let server = TestServer::start(vec![Answer::Whole(200, &[], body)]).await;
        let client = server.client(&Credentials::fixed());
        let error = client.list_objects_v2(list("", &from)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::EmptyAnswer, "{body}");
        assert_eq!(error.class(), Class::Transient, "{body}");
    }
    let no_text = "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
        <Contents><Key>a%FFb</Key><ETag>e</ETag><Size>1</Size></Contents></ListBucketResult>";
    let server = TestServer::start(vec![Answer::Whole(200, &[], no_text)]).await;
    let client = server.client(&Credentials::fixed());
    let error = client.list_objects_v2(list("", &from)).await.unwrap_err();
    assert_eq!(error.report_code(), "UnreadableAnswer");
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.message.contains("a%FFb"), "{error}");
}

#[tokio::test]
async fn a_file_is_sent_as_it_is() {
    let path = std::env::temp_dir().join(format!("s3haul-put-{}", std::process::id()));
    std::fs::write(&path, "bucket,a%20b\n").unwrap();
    let answers = vec![
        Answer::Whole(200, &[("ETag", "\"e\"")], ""),
        Answer::Whole(200, &[], ""),
    ];
    let server = TestServer::start(answers).await;
    let client = server.client(&Credentials::fixed());
    let put = async |file| {
        let request = PutObject {
            bucket: "b",
            key: "m/a b.csv",
            body: crate::PutBody::File(file),
            content_md5: [0; 16],
            headers: &[],
        };
        client.put_object(request).await
    };
    assert_eq!(put(path.as_path()).await.unwrap().e_tag, "e");
    let error = put(path.as_path()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::EmptyAnswer);
    let sent = &server.requests()[0];
    assert!(sent.starts_with("PUT /b/m/a%20b.csv"), "{sent}");
    assert!(
        sent.contains("content-md5: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
        "{sent}"
    );
    assert!(sent.ends_with("\r\n\r\nbucket,a%20b\n"), "{sent}");

    // A hole takes no room.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(crate::quotas::MAX_PUT_BYTES + 1).unwrap();
    let error = put(path.as_path()).await.unwrap_err();
    assert!(error.message.contains("5 GiB"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = put(path.as_path()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotBuilt);
    assert_eq!(server.requests().len(), 2);
}
