//! What goes over the wire, and comes back, of all that an object is beside its bytes.

use std::borrow::Cow;
use std::error::Error as _;
use std::time::Duration;

use crate::test_server::{Answer, TestServer};
use crate::{
    AnnotationPage, ChecksumAlgorithm, Class, CompleteMultipartUpload, CopyObject, CopySource,
    Credentials, ErrorKind, GetObject, Grant, Grantee, HeadObject, HeaderPair, PartChecksum,
    S3Client, S3Error,
};

const XML: &[(&str, &str)] = &[("Content-Type", "application/xml")];

async fn server(answers: impl IntoIterator<Item = Answer>) -> (TestServer, S3Client) {
    let server = TestServer::start(answers.into_iter().collect()).await;
    let client = server.client(&Credentials::fixed());
    (server, client)
}

fn checksum(algorithm: ChecksumAlgorithm, value: &str) -> PartChecksum {
    let value = value.into();
    PartChecksum { algorithm, value }
}

fn owner() -> HeaderPair {
    let name = Cow::Borrowed("x-amz-expected-bucket-owner");
    (name, "111122223333".into())
}

const ATTRIBUTES: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <GetObjectAttributesResponse xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ETag>e-3</ETag>\
    <Checksum><ChecksumSHA256>AA==</ChecksumSHA256><ChecksumType>COMPOSITE</ChecksumType></Checksum>\
    <ObjectParts><PartsCount>3</PartsCount><IsTruncated>true</IsTruncated>\
    <NextPartNumberMarker>2</NextPartNumberMarker>\
    <Part><PartNumber>1</PartNumber><Size>5242880</Size><ChecksumSHA256>AB==</ChecksumSHA256></Part>\
    <Part><PartNumber>2</PartNumber><Size>7</Size><ChecksumSHA256>AC==</ChecksumSHA256></Part>\
    </ObjectParts><StorageClass>STANDARD_IA</StorageClass><ObjectSize>6442450944</ObjectSize>\
    </GetObjectAttributesResponse>";

#[tokio::test]
async fn attributes_of_an_object_in_parts() {
    let headers: &[(&str, &str)] = &[
        ("Content-Type", "application/xml"),
        ("x-amz-version-id", "v"),
        ("Last-Modified", "Tue, 15 Nov 2022 08:12:31 GMT"),
    ];
    let end = "<GetObjectAttributesResponse><ETag>&quot;e-3&quot;</ETag>\
        <Checksum><ChecksumSHA256>AA==-3</ChecksumSHA256><ChecksumType>COMPOSITE</ChecksumType></Checksum>\
        <ObjectParts>\
        <IsTruncated>false</IsTruncated><NextPartNumberMarker>3</NextPartNumberMarker>\
        <PartsCount>3</PartsCount></ObjectParts></GetObjectAttributesResponse>";
    // Without a type, but short.
    let answers = [
        Answer::Whole(200, headers, ATTRIBUTES),
        Answer::Whole(200, &[], end),
    ];
    let (server, client) = server(answers).await;
    let first = client
        .get_object_attributes("b", "a+b", Some("v"), None, &[owner()])
        .await
        .unwrap();
    assert_eq!(first.bytes, Some(6 << 30));
    assert_eq!(first.e_tag.as_deref(), Some("e-3"));
    assert_eq!(
        first.checksum,
        Some(checksum(ChecksumAlgorithm::Sha256, "AA==-3"))
    );
    assert_eq!(first.checksum_type.as_deref(), Some("COMPOSITE"));
    assert_eq!(first.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(first.version_id.as_deref(), Some("v"));
    assert_eq!(first.last_modified.unwrap().unix_timestamp(), 1_668_499_951);
    assert_eq!(
        (first.parts_count, first.next_part_number_marker),
        (Some(3), Some(2))
    );
    let [one, two] = &first.parts[..] else {
        panic!("{first:?}");
    };
    assert_eq!((one.part_number, one.bytes), (1, 5_242_880));
    assert_eq!((two.part_number, two.bytes), (2, 7));
    assert_eq!(
        two.checksum,
        Some(checksum(ChecksumAlgorithm::Sha256, "AC=="))
    );

    let last = client
        .get_object_attributes("b", "a+b", None, first.next_part_number_marker, &[])
        .await
        .unwrap();
    // The same, spelt otherwise.
    assert_eq!(last.e_tag, first.e_tag);
    assert_eq!(last.checksum, first.checksum);
    assert_eq!((last.bytes, last.version_id), (None, None));
    assert_eq!((last.parts.len(), last.next_part_number_marker), (0, None));

    let log = server.requests();
    let [asked, asked_on] = &log[..] else {
        panic!("{log:?}");
    };
    assert!(asked.starts_with("GET /b/a%2Bb?attributes"), "{asked}");
    assert!(
        asked.contains("versionId=v") && !asked.contains("part-number-marker"),
        "{asked}"
    );
    assert!(asked.contains("x-amz-max-parts: 1000\r\n"), "{asked}");
    assert!(
        asked.contains("x-amz-expected-bucket-owner: 111122223333\r\n"),
        "{asked}"
    );
    for attribute in [
        "ETag",
        "Checksum",
        "ObjectParts",
        "StorageClass",
        "ObjectSize",
    ] {
        let named = asked
            .lines()
            .filter_map(|line| line.strip_prefix("x-amz-object-attributes: "))
            .any(|value| value.split(',').any(|name| name.trim() == attribute));
        assert!(named, "{attribute}: {asked}");
    }
    assert!(
        asked_on.contains("x-amz-part-number-marker: 2\r\n"),
        "{asked_on}"
    );
    assert!(!asked_on.contains("versionId"), "{asked_on}");
}

#[tokio::test]
async fn a_checksum_of_all_bytes_names_no_parts() {
    let body = "<R><ETag>e-2</ETag><Checksum><ChecksumCRC64NVME>AAA=</ChecksumCRC64NVME>\
        <ChecksumType>FULL_OBJECT</ChecksumType></Checksum>\
        <ObjectParts><PartsCount>2</PartsCount></ObjectParts></R>";
    let (_server, client) = server([Answer::Whole(200, XML, body)]).await;
    let asked = client.get_object_attributes("b", "k", None, None, &[]);
    let told = asked.await.unwrap();
    let expected = checksum(ChecksumAlgorithm::Crc64Nvme, "AAA=");
    assert_eq!((told.checksum, told.parts_count), (Some(expected), Some(2)));
}

#[tokio::test]
async fn attributes_that_lead_nowhere() {
    let endless = "<R><ETag>e</ETag><ObjectParts><IsTruncated>true</IsTruncated>\
        <NextPartNumberMarker>7</NextPartNumberMarker></ObjectParts></R>";
    let lost = "<R><ETag>e</ETag><ObjectParts><IsTruncated>true</IsTruncated></ObjectParts></R>";
    let broken = "<R><ETag>e</ETag><ObjectParts><Part><Size>1</Size></Part></ObjectParts></R>";
    for body in [endless, lost, broken] {
        let (_server, client) = server([Answer::Whole(200, XML, body)]).await;
        let asked = client.get_object_attributes("b", "k", None, Some(7), &[]);
        let error = asked.await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::EmptyAnswer, "{body}");
    }
}

type MakeAnswer = fn() -> Answer;

/// Sends both requests that another store may answer with the object.
async fn both(answer: MakeAnswer) -> [(TestServer, S3Error); 2] {
    const AT_ONCE: Duration = Duration::from_secs(20);
    let (listing, client) = server([answer()]).await;
    let listed = client.list_object_annotations("b", "k", None, None, &[]);
    let listed = tokio::time::timeout(AT_ONCE, listed).await.unwrap();
    let (asking, client) = server([answer()]).await;
    let asked = client.get_object_attributes("b", "k", None, None, &[]);
    let asked = tokio::time::timeout(AT_ONCE, asked).await.unwrap();
    [(listing, listed.unwrap_err()), (asking, asked.unwrap_err())]
}

#[tokio::test]
async fn the_object_itself_is_refused_before_it_is_read() {
    let answers: [(MakeAnswer, &str); 4] = [
        (
            || Answer::Head(&[("Content-Type", "text/plain"), ("Content-Length", "5")]),
            "its Content-Type is text/plain",
        ),
        (
            || {
                Answer::Head(&[
                    ("Content-Type", "text/plain"),
                    ("Content-Length", "5000000000000"),
                ])
            },
            "it is 5000000000000 bytes long",
        ),
        (
            || {
                Answer::Head(&[
                    ("Content-Type", "application/xml"),
                    ("Content-Length", "16777217"),
                ])
            },
            "it is 16777217 bytes long",
        ),
        (
            || Answer::Head(&[("Connection", "close")]),
            "it has neither Content-Type nor Content-Length",
        ),
    ];
    for (answer, why) in answers {
        for (server, error) in both(answer).await {
            assert_eq!(error.kind, ErrorKind::Unreadable, "{error:?}");
            assert_eq!(error.report_code(), "UnreadableAnswer");
            assert_eq!(error.class(), Class::Permanent);
            assert_eq!(error.status, Some(200));
            assert_eq!(error.source().unwrap().to_string(), why);
            // The connection is given up although the error is kept.
            tokio::time::timeout(Duration::from_secs(20), async {
                while server.requests().len() < 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .unwrap();
            assert_eq!(server.requests()[1], "closed");
        }
    }
}

#[tokio::test]
async fn an_object_of_xml_is_no_answer() {
    for (_server, error) in both(|| Answer::Whole(200, XML, "<html><body/></html>")).await {
        assert_eq!(error.kind, ErrorKind::Unreadable, "{error:?}");
        assert_eq!(error.class(), Class::Permanent);
    }
}

#[tokio::test]
async fn a_refusal_is_believed_whatever_it_is_written_in() {
    const TEXT: &[(&str, &str)] = &[("Content-Type", "text/html")];
    for (_server, error) in both(|| Answer::Whole(501, TEXT, "no")).await {
        assert_eq!(error.kind, ErrorKind::Answered, "{error:?}");
        assert_eq!(error.report_code(), "NotImplemented");
        assert_eq!(error.class(), Class::Permanent);
    }
}

#[tokio::test]
async fn annotations_are_listed_page_by_page() {
    let pages = [
        "<ListObjectAnnotationsOutput><AnnotationCount>2</AnnotationCount>\
         <NextContinuationToken>T+1</NextContinuationToken><Annotations>\
         <AnnotationEntry><AnnotationName>a &amp; b</AnnotationName>\
         <LastModified>2026-01-02T03:04:05.000Z</LastModified><Size>1</Size></AnnotationEntry>\
         <AnnotationEntry><AnnotationName>ü</AnnotationName>\
         <LastModified>2026-01-02T03:04:05.000Z</LastModified><Size>1</Size></AnnotationEntry>\
         </Annotations></ListObjectAnnotationsOutput>",
        "<ListObjectAnnotationsOutput><Annotations></Annotations></ListObjectAnnotationsOutput>\n",
    ];
    let (server, client) = server(pages.map(|page| Answer::Whole(200, XML, page))).await;
    let first = client
        .list_object_annotations("b", "k", Some("v"), None, &[])
        .await
        .unwrap();
    assert_eq!(first.names, ["a & b", "ü"]);
    let token = first.next_token.as_deref();
    assert_eq!(token, Some("T+1"));
    let last = client
        .list_object_annotations("b", "k", None, token, &[])
        .await
        .unwrap();
    let (names, next_token) = (Vec::new(), None);
    assert_eq!(last, AnnotationPage { names, next_token });
    let log = server.requests();
    assert!(log[0].starts_with("GET /b/k?annotation"), "{}", log[0]);
    assert!(
        log[0].contains("versionId=v") && !log[0].contains("token="),
        "{}",
        log[0]
    );
    assert!(log[1].contains("continuation-token=T%2B1"), "{}", log[1]);
}

#[tokio::test]
async fn a_page_of_annotations_that_is_not_whole_is_no_page() {
    let begun = "<ListObjectAnnotationsOutput><Annotations><AnnotationEntry>\
        <AnnotationName>a</AnnotationName></AnnotationEntry></Annotations>";
    let same = "<ListObjectAnnotationsOutput><NextContinuationToken>T</NextContinuationToken>\
        </ListObjectAnnotationsOutput>";
    for body in [begun, same] {
        let (_server, client) = server([Answer::Whole(200, XML, body)]).await;
        let page = client.list_object_annotations("b", "k", None, Some("T"), &[]);
        let error = page.await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::EmptyAnswer, "{body}");
    }
}

#[tokio::test]
async fn an_annotation_goes_there_and_back() {
    let stored = "<PutObjectAnnotationOutput><Key>k</Key></PutObjectAnnotationOutput>";
    let answers = [
        Answer::Whole(200, &[], "p\u{fc}"),
        Answer::Whole(200, XML, stored),
    ];
    let (server, client) = server(answers).await;
    let name = "a &+b";
    let payload = client
        .get_object_annotation("b", "k", Some("v"), name, &[owner()])
        .await
        .unwrap();
    assert_eq!(payload, "p\u{fc}".as_bytes());
    let headers: [HeaderPair; 1] = [(Cow::Borrowed("x-amz-object-if-match"), "\"e\"".into())];
    client
        .put_object_annotation("b", "k", Some("w"), name, &payload, &headers)
        .await
        .unwrap();
    let log = server.requests();
    assert!(log[0].starts_with("GET /b/k?annotation"), "{}", log[0]);
    assert!(log[0].contains("annotationName=a%20%26%2Bb"), "{}", log[0]);
    assert!(log[0].contains("versionId=v"), "{}", log[0]);
    assert!(log[0].contains("x-amz-expected-bucket-owner: 111122223333\r\n"));
    assert!(log[1].starts_with("PUT /b/k?annotation"), "{}", log[1]);
    assert!(log[1].contains("annotationName=a%20%26%2Bb"), "{}", log[1]);
    assert!(log[1].contains("versionId=w"), "{}", log[1]);
    assert!(
        log[1].contains("x-amz-object-if-match: \"e\"\r\n"),
        "{}",
        log[1]
    );
    assert!(log[1].ends_with("\r\n\r\np\u{fc}"), "{}", log[1]);
    // What arrives is what was signed.
    assert!(!log[1].contains("UNSIGNED-PAYLOAD"), "{}", log[1]);
}

#[tokio::test]
async fn more_than_an_annotation_can_be_is_not_read() {
    let huge: &[(&str, &str)] = &[("Content-Length", "5000000000000")];
    // A byte over 1 MiB, of a length that is not said.
    let chunk = "x".repeat(0x10_0001);
    let chunked = format!("100001\r\n{chunk}\r\n").leak();
    let answers = [
        Answer::Head(huge),
        Answer::Chunked(chunked),
        Answer::Head(&[("Content-Length", "1048576"), ("Connection", "close")]),
    ];
    let (_server, client) = server(answers).await;
    let get = || client.get_object_annotation("b", "k", None, "n", &[]);
    for _ in 0..2 {
        let got = tokio::time::timeout(Duration::from_secs(20), get()).await;
        let error = got.unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreadable, "{error:?}");
        assert_eq!(error.message, "the answer is over 1 MiB");
    }
    // The largest that can be is waited for.
    let waits = tokio::time::timeout(Duration::from_millis(50), get()).await;
    assert!(waits.is_err(), "{waits:?}");
}

#[tokio::test]
async fn an_annotation_that_breaks_off_is_lost() {
    let (_server, client) = server([Answer::Cut]).await;
    let got = client.get_object_annotation("b", "k", None, "n", &[]).await;
    let error = got.unwrap_err();
    assert_eq!(error.kind, ErrorKind::AnswerLost, "{error:?}");
    assert!(error.source.is_some());
}

#[tokio::test]
async fn a_restore_is_asked_for() {
    let state = "<Error><Code>InvalidObjectState</Code><Message>m</Message>\
        <StorageClass>INTELLIGENT_TIERING</StorageClass><AccessTier>ARCHIVE_ACCESS</AccessTier></Error>";
    let tier = "<Error><Code>ObjectNotInActiveTierError</Code><Message>m</Message></Error>";
    let under_way = "<Error><Code>RestoreAlreadyInProgress</Code><Message>m</Message></Error>";
    let (server, client) = server([
        Answer::Whole(202, &[], ""),
        Answer::Whole(200, &[], ""),
        Answer::Whole(409, &[], under_way),
        Answer::Whole(403, &[], state),
        Answer::Whole(403, &[], tier),
    ])
    .await;
    let restore = async |version_id, days, tier| {
        client
            .restore_object("b", "a+b", version_id, days, tier, &[owner()])
            .await
    };
    restore(Some("v"), Some(7), Some("Bulk")).await.unwrap();
    restore(None, None, None).await.unwrap();
    let error = restore(None, None, None).await.unwrap_err();
    assert_eq!(error.report_code(), "RestoreAlreadyInProgress");
    assert_eq!(error.class(), Class::Permanent);
    let error = restore(None, Some(1), None).await.unwrap_err();
    assert_eq!(error.report_code(), "InvalidObjectState");
    assert_eq!(error.storage_class.as_deref(), Some("INTELLIGENT_TIERING"));
    assert_eq!(error.access_tier.as_deref(), Some("ARCHIVE_ACCESS"));
    assert!(!error.is_access_refusal() && !error.is_in_doubt());
    let error = restore(None, Some(1), None).await.unwrap_err();
    assert_eq!(error.report_code(), "ObjectNotInActiveTierError");
    assert_eq!((&error.storage_class, &error.access_tier), (&None, &None));
    assert!(!error.is_access_refusal());

    let log = server.requests();
    assert!(log[0].starts_with("POST /b/a%2Bb?restore"), "{}", log[0]);
    assert!(log[0].contains("versionId=v"), "{}", log[0]);
    assert!(log[0].contains("x-amz-expected-bucket-owner: 111122223333\r\n"));
    assert!(log[0].contains("<Days>7</Days>"), "{}", log[0]);
    let parameters = "<GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters>";
    assert!(log[0].contains(parameters), "{}", log[0]);
    assert!(log[1].contains("<RestoreRequest"), "{}", log[1]);
    for absent in ["Days", "Tier", "versionId", "checksum"] {
        assert!(!log[1].contains(absent), "{absent}: {}", log[1]);
    }
}

const ACL: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>o1</ID></Owner>\
    <AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
    xsi:type=\"CanonicalUser\"><ID>o1</ID><DisplayName>n</DisplayName></Grantee>\
    <Permission>FULL_CONTROL</Permission></Grant><Grant><Grantee \
    xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\">\
    <URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>\
    <Permission>READ</Permission></Grant><Grant><Grantee \
    xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"AmazonCustomerByEmail\">\
    <EmailAddress>a@b</EmailAddress></Grantee><Permission>READ_ACP</Permission></Grant>\
    </AccessControlList></AccessControlPolicy>";

#[tokio::test]
async fn acls_of_objects_and_buckets() {
    let (server, client) = server([ACL, ACL].map(|acl| Answer::Whole(200, &[], acl))).await;
    let of_object = client
        .get_object_acl("b", "a+b", Some("v"), &[owner()])
        .await
        .unwrap();
    assert_eq!(of_object.owner_id.as_deref(), Some("o1"));
    let everybody = "http://acs.amazonaws.com/groups/global/AllUsers";
    let expected = [
        (Grantee::CanonicalUser("o1".into()), "FULL_CONTROL"),
        (Grantee::Group(everybody.into()), "READ"),
        (Grantee::Other("a@b".into()), "READ_ACP"),
    ]
    .map(|(grantee, permission)| Grant {
        grantee,
        permission: permission.into(),
    });
    assert_eq!(of_object.grants, expected);
    let of_bucket = client.get_bucket_acl("b", &[owner()]).await.unwrap();
    assert_eq!(of_bucket, of_object);
    let log = server.requests();
    assert!(log[0].starts_with("GET /b/a%2Bb?acl"), "{}", log[0]);
    assert!(log[0].contains("versionId=v"), "{}", log[0]);
    assert!(log[1].starts_with("GET /b?acl") || log[1].starts_with("GET /b/?acl"));
    let owned = "x-amz-expected-bucket-owner: 111122223333\r\n";
    assert!(log.iter().all(|request| request.contains(owned)));
}

#[tokio::test]
async fn an_acl_that_is_not_whole_is_no_acl() {
    let (begun, _) = ACL.split_once("</AccessControlList>").unwrap();
    let nobody = "<AccessControlPolicy><AccessControlList><Grant><Permission>READ</Permission></Grant>\
        </AccessControlList></AccessControlPolicy>";
    for body in [begun, nobody] {
        let answers = [body, body].map(|body| Answer::Whole(200, &[], body));
        let (_server, client) = server(answers).await;
        let error = client
            .get_object_acl("b", "k", None, &[])
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::EmptyAnswer, "{body}");
        let error = client.get_bucket_acl("b", &[]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::EmptyAnswer, "{body}");
    }
}

#[tokio::test]
async fn what_was_made_tells_its_checksum() {
    let copied = "<CopyObjectResult><ETag>e</ETag><ChecksumType>FULL_OBJECT</ChecksumType>\
        <ChecksumCRC64NVME>AAA=</ChecksumCRC64NVME></CopyObjectResult>";
    let completed = "<CompleteMultipartUploadResult><ETag>e-1</ETag>\
        <ChecksumSHA1>AB==-1</ChecksumSHA1><ChecksumType>COMPOSITE</ChecksumType>\
        </CompleteMultipartUploadResult>";
    let silent = "<CompleteMultipartUploadResult><ETag>e-1</ETag></CompleteMultipartUploadResult>";
    let kms: &[(&str, &str)] = &[("x-amz-server-side-encryption", "aws:kms")];
    let (_server, client) = server([
        Answer::Whole(200, &[], copied),
        Answer::Whole(200, kms, completed),
        Answer::Whole(200, &[], silent),
    ])
    .await;
    let source = CopySource {
        bucket: "from".into(),
        key: "k".into(),
        version_id: None,
    };
    let (bucket, key, headers) = ("b", "k", &[]);
    let copied = client
        .copy_object(CopyObject {
            bucket,
            key,
            source: &source,
            headers,
        })
        .await
        .unwrap();
    assert_eq!(
        copied.checksum,
        Some(checksum(ChecksumAlgorithm::Crc64Nvme, "AAA="))
    );
    assert_eq!(copied.checksum_type.as_deref(), Some("FULL_OBJECT"));
    let complete = CompleteMultipartUpload {
        bucket,
        key,
        upload_id: "U",
        parts: &[],
        object_bytes: 1,
        headers,
    };
    let completed = client.complete_multipart_upload(complete).await.unwrap();
    assert_eq!(
        completed.checksum,
        Some(checksum(ChecksumAlgorithm::Sha1, "AB==-1"))
    );
    assert_eq!(completed.checksum_type.as_deref(), Some("COMPOSITE"));
    assert_eq!(completed.encryption.as_deref(), Some("aws:kms"));
    let silent = client.complete_multipart_upload(complete).await.unwrap();
    assert_eq!(
        (silent.checksum, silent.checksum_type, silent.encryption),
        (None, None, None)
    );
}

#[tokio::test]
async fn a_part_tells_the_size_of_the_whole() {
    let of_a_part: &[(&str, &str)] = &[
        ("Content-Length", "5242880"),
        ("Content-Range", "bytes 0-5242879/12345678901"),
        ("ETag", "\"e-7\""),
    ];
    let of_all: &[(&str, &str)] = &[("Content-Length", "7"), ("ETag", "\"e\"")];
    let answers = [
        Answer::Whole(206, of_a_part, ""),
        Answer::Whole(200, of_all, ""),
    ];
    let (_server, client) = server(answers).await;
    let mut request = HeadObject {
        bucket: "b",
        key: "k",
        version_id: None,
        part_number: Some(1),
        headers: &[],
    };
    let part = client.head_object(request).await.unwrap();
    assert_eq!(
        (part.bytes, part.object_bytes()),
        (5_242_880, 12_345_678_901)
    );
    request.part_number = None;
    let all = client.head_object(request).await.unwrap();
    assert_eq!((all.bytes, all.object_bytes()), (7, 7));
}

#[tokio::test]
async fn a_range_of_a_version_under_a_customers_key() {
    let range: &[(&str, &str)] = &[("Content-Range", "bytes 2-4/9")];
    let answers = [
        Answer::Whole(206, range, "abc"),
        Answer::Whole(206, range, "abc"),
    ];
    let (server, client) = server(answers).await;
    let customer = |name, value: &str| -> HeaderPair { (Cow::Borrowed(name), value.into()) };
    let headers = [
        customer("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        customer("x-amz-server-side-encryption-customer-key", "AAAA"),
        customer("x-amz-server-side-encryption-customer-key-md5", "BBBB"),
    ];
    let mut request = GetObject {
        bucket: "b",
        key: "k",
        version_id: Some("v+1"),
        range: (2, 4),
        if_match: Some("e"),
        headers: &headers,
    };
    assert_eq!(client.get_object(request).await.unwrap(), b"abc");
    request.version_id = None;
    request.headers = &[];
    assert_eq!(client.get_object(request).await.unwrap(), b"abc");
    let log = server.requests();
    assert!(log[0].contains("versionId=v%2B1"), "{}", log[0]);
    assert!(log[0].contains("if-match: \"e\"\r\n"), "{}", log[0]);
    for (name, value) in &headers {
        assert!(
            log[0].contains(&format!("{name}: {value}\r\n")),
            "{}",
            log[0]
        );
    }
    assert!(
        !log[1].contains("versionId") && !log[1].contains("customer"),
        "{}",
        log[1]
    );
}
