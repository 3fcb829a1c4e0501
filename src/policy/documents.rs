//! Which policies allow what a job needs, on what, and in which account.

use serde::Serialize;
use serde_json::{Value, json};

use super::actions::On;
use super::document::{Effect, Policy, Statement, bucket_arn, object_arn, objects_arn};
use super::needs::{Need, Place};

/// Who does what where: what the policies are about besides the actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parties {
    /// Who copies: the role, or the base identity without one.
    pub worker: Arn,
    /// The role's trust, where there is a role whose trust is asked for.
    pub trust: Option<Trust>,
    /// The bucket that is copied from.
    pub source: Bucket,
    /// The bucket that is copied to.
    pub destination: Bucket,
    /// The bucket of the manifest, and who reads it; its prefix is a whole key.
    pub manifest: Option<(Bucket, Arn)>,
    /// The bucket of the report, and who writes it.
    pub report: Option<(Bucket, Arn)>,
    /// Where S3 Inventory of the source is to be delivered.
    pub inventory: Option<Bucket>,
    /// KMS keys of the sources.
    pub source_keys: Vec<Arn>,
    /// KMS keys of the copies.
    pub destination_keys: Vec<Arn>,
    /// Writers are to give the destination's owner full control.
    pub enforce_acl: bool,
    /// Canonical user IDs of the source's owner and of the worker's account, where access is to go by ACLs.
    pub canonical_users: Option<(String, String)>,
}

/// A bucket, and what of it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What the keys begin with.
    pub prefix: String,
    /// The account that owns it.
    pub account: String,
}

/// An ARN with its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arn {
    /// The whole.
    pub text: String,
    /// Its partition.
    pub partition: String,
    /// Twelve digits.
    pub account: String,
    /// What follows the account: `role/NAME`.
    pub resource: String,
}

impl Arn {
    /// An ARN of a service, with an account.
    pub fn parse(text: &str, service: &str) -> Option<Self> {
        let parts: Vec<_> = text.splitn(6, ':').collect();
        let &["arn", partition, of, _, account, resource] = &parts[..] else {
            return None;
        };
        let digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        (of == service && digits && !partition.is_empty() && !resource.is_empty()).then(|| Self {
            text: text.to_owned(),
            partition: partition.to_owned(),
            account: account.to_owned(),
            resource: resource.to_owned(),
        })
    }
}

/// Who may become the role, and under which conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Who.
    pub base: Base,
    /// The external ID that must be given.
    pub external_id: Option<String>,
    /// An MFA device must have been asked.
    pub mfa: bool,
    /// Longest session, in seconds.
    pub session_seconds: u64,
}

/// The base identity of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A user, or a role that becomes the other.
    Identity(Arn),
    /// A task of ECS, or a job of AWS Batch, which is one, in this region: the role is its own.
    Task(Region),
    /// An instance of EC2: the role is its own.
    Instance,
}

/// A region: a template need not name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Region {
    /// This one.
    Named(String),
    /// That in which a template is deployed.
    OfTemplate,
}

/// A policy or setting, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// Its name: of words and hyphens, each once.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The account in which it is set.
    pub account: String,
    /// What it is set on.
    pub on: String,
    /// Why it is there, and when it is not needed.
    pub why: String,
    /// The thing itself.
    pub document: Body,
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Of a role or a user.
    IdentityPolicy,
    /// Of a role: who may become it.
    TrustPolicy,
    /// Of a bucket.
    BucketPolicy,
    /// Statements for the policy of a KMS key, which has others.
    KeyPolicy,
    /// Object Ownership of a bucket.
    OwnershipControls,
    /// An ACL, as `put-bucket-acl` and `put-object-acl` take it.
    Acl,
}

impl Kind {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IdentityPolicy => "permission policy",
            Self::TrustPolicy => "trust policy",
            Self::BucketPolicy => "bucket policy",
            Self::KeyPolicy => "statements for the key policy",
            Self::OwnershipControls => "ownership controls",
            Self::Acl => "access control list",
        }
    }
}

/// What is in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// A policy.
    Policy(Policy),
    /// A setting.
    Setting(Value),
}

/// All documents: what must be first, then what may be.
pub fn documents(parties: &Parties, needs: &[Need]) -> Vec<Document> {
    let mut all = identities(parties, needs);
    all.extend(buckets(parties, needs));
    all.extend(keys(parties, needs));
    if parties.enforce_acl {
        all.push(ownership(parties));
    }
    if let Some((owner, reader)) = &parties.canonical_users {
        all.extend(acls(parties, owner, reader));
    }
    all
}

/// Statements for what `who` needs on each place, `to` whom where it is a bucket's policy.
fn statements(
    parties: &Parties,
    needs: &[Need],
    places: &[Place],
    to: Option<&Arn>,
) -> Vec<Statement> {
    let mut found: Vec<Statement> = Vec::new();
    for need in needs.iter().filter(|need| places.contains(&need.place)) {
        let resource = resources(parties, need.place, need.on);
        let sid = sid(need.place, need.on);
        match found.iter_mut().find(|statement| statement.sid == sid) {
            Some(statement) => statement.action.push(need.action.to_owned()),
            None if resource.is_empty() => {}
            None => found.push(Statement::allow(
                sid,
                vec![need.action.to_owned()],
                resource,
            )),
        }
    }
    match to {
        Some(arn) => found
            .into_iter()
            .map(|s| s.to_principal(&arn.text))
            .collect(),
        None => found,
    }
}

fn sid(place: Place, on: On) -> &'static str {
    match (place, on) {
        (Place::Source, On::Bucket) => "SeeSourceBucket",
        (Place::Source, On::Object) => "ReadSourceObjects",
        (Place::Source, On::Key) => "DecryptSourceObjects",
        (Place::Destination, On::Bucket) => "SeeDestinationBucket",
        (Place::Destination, On::Object) => "WriteDestinationObjects",
        (Place::Destination, On::Key) => "EncryptDestinationObjects",
        (Place::Manifest, On::Bucket) => "SeeManifestBucket",
        (Place::Manifest, On::Object) => "ReadManifest",
        (Place::Manifest, On::Key) => "DecryptManifest",
        (Place::Report, On::Bucket) => "SeeReportBucket",
        (Place::Report, On::Object) => "WriteReport",
        (Place::Report, On::Key) => "EncryptReport",
    }
}

/// The resources of a statement.
pub fn resources(parties: &Parties, place: Place, on: On) -> Vec<String> {
    let bucket = match place {
        Place::Source => Some(&parties.source),
        Place::Destination => Some(&parties.destination),
        Place::Manifest => parties.manifest.as_ref().map(|(bucket, _)| bucket),
        Place::Report => parties.report.as_ref().map(|(bucket, _)| bucket),
    };
    let partition = &parties.worker.partition;
    let Some(bucket) = bucket else {
        return Vec::new();
    };
    let arns = |keys: &[Arn]| keys.iter().map(|key| key.text.clone()).collect();
    match (on, place) {
        (On::Bucket, _) => vec![bucket_arn(partition, &bucket.name)],
        (On::Object, Place::Manifest) => manifest_objects(partition, bucket),
        (On::Object, _) => vec![objects_arn(partition, &bucket.name, &bucket.prefix)],
        (On::Key, Place::Source) => arns(&parties.source_keys),
        (On::Key, Place::Destination) => arns(&parties.destination_keys),
        (On::Key, _) => Vec::new(),
    }
}

/// The manifest; the data files of an inventory lie beside the folder of its manifest.json.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html>
fn manifest_objects(partition: &str, bucket: &Bucket) -> Vec<String> {
    let Some(folder) = bucket.prefix.strip_suffix("/manifest.json") else {
        return vec![object_arn(partition, &bucket.name, &bucket.prefix)];
    };
    let configuration = folder.rsplit_once('/').map_or("", |(above, _)| above);
    let prefix = if configuration.is_empty() {
        String::new()
    } else {
        format!("{configuration}/")
    };
    vec![objects_arn(partition, &bucket.name, &prefix)]
}

/// The last part of an ARN, which is the name of a role or user.
pub(super) fn name_of(arn: &Arn) -> &str {
    arn.resource.rsplit('/').next().unwrap_or_default()
}

fn identities(parties: &Parties, needs: &[Need]) -> Vec<Document> {
    let worker = &parties.worker;
    let mut all = Vec::new();
    let places = [
        (Some(worker), &[Place::Source, Place::Destination][..]),
        (
            parties.manifest.as_ref().map(|(_, reader)| reader),
            &[Place::Manifest],
        ),
        (
            parties.report.as_ref().map(|(_, writer)| writer),
            &[Place::Report],
        ),
    ];
    let ids = ["job", "manifest", "report"].map(|whose| format!("{whose}-permissions"));
    let mut permissions: Vec<(&Arn, String, Vec<Statement>)> = Vec::new();
    for ((who, places), id) in places.into_iter().zip(ids) {
        let Some(who) = who else { continue };
        let more = statements(parties, needs, places, None);
        match permissions.iter_mut().find(|(known, ..)| *known == who) {
            Some((_, _, statements)) => statements.extend(more),
            None => permissions.push((who, id, more)),
        }
    }
    for (who, id, statements) in permissions {
        all.push(Document {
            id,
            kind: Kind::IdentityPolicy,
            account: who.account.clone(),
            on: who.text.clone(),
            why: "what the job does; what lies in another account takes that account's policy too"
                .into(),
            document: Body::Policy(Policy::new(statements)),
        });
    }
    if let Some(trust) = &parties.trust {
        all.push(Document {
            id: "role-trust".into(),
            kind: Kind::TrustPolicy,
            account: worker.account.clone(),
            on: worker.text.clone(),
            why: match trust.base {
                Base::Identity(_) => "who may become the role",
                _ => "the role is that of what the job runs in: give the job --no-role",
            }
            .into(),
            document: Body::Policy(Policy::new(vec![trusted(worker, trust)])),
        });
        if let Base::Identity(base) = &trust.base {
            let action = vec!["sts:AssumeRole".to_owned()];
            let become_role = Statement::allow("BecomeTheRole", action, vec![worker.text.clone()]);
            all.push(Document {
                id: "base-permissions".into(),
                kind: Kind::IdentityPolicy,
                account: base.account.clone(),
                on: base.text.clone(),
                why: if base.account == worker.account {
                    "not needed where the trust policy names it: both are in one account"
                } else {
                    "the base identity becomes the role"
                }
                .into(),
                document: Body::Policy(Policy::new(vec![become_role])),
            });
        }
    }
    all
}

fn trusted(worker: &Arn, trust: &Trust) -> Statement {
    let (principal, condition) = match &trust.base {
        Base::Identity(arn) => {
            let mut condition = serde_json::Map::new();
            if let Some(id) = &trust.external_id {
                condition.insert("StringEquals".into(), json!({"sts:ExternalId": id}));
            }
            if trust.mfa {
                let mfa = json!({"aws:MultiFactorAuthPresent": "true"});
                condition.insert("Bool".into(), mfa);
            }
            let condition = (!condition.is_empty()).then_some(Value::Object(condition));
            (json!({"AWS": arn.text}), condition)
        }
        Base::Task(region) => {
            let (partition, account) = (&worker.partition, &worker.account);
            let source = match region {
                Region::Named(region) => json!(format!("arn:{partition}:ecs:{region}:{account}:*")),
                Region::OfTemplate => {
                    let arn = format!("arn:${{AWS::Partition}}:ecs:${{AWS::Region}}:{account}:*");
                    json!({"Fn::Sub": arn})
                }
            };
            let condition = json!({
                "ArnLike": {"aws:SourceArn": source},
                "StringEquals": {"aws:SourceAccount": account},
            });
            (
                json!({"Service": "ecs-tasks.amazonaws.com"}),
                Some(condition),
            )
        }
        // Its name alone depends on the partition.
        Base::Instance if worker.partition == "aws-cn" => {
            (json!({"Service": "ec2.amazonaws.com.cn"}), None)
        }
        Base::Instance => (json!({"Service": "ec2.amazonaws.com"}), None),
    };
    Statement {
        sid: "WhoMayBecomeTheRole".into(),
        effect: Effect::Allow,
        principal: Some(principal),
        action: vec!["sts:AssumeRole".into()],
        resource: Vec::new(),
        condition,
    }
}

/// One policy for each bucket that another account's identity works on, or that is to hold writers to
/// something: a bucket has one policy.
fn buckets(parties: &Parties, needs: &[Need]) -> Vec<Document> {
    let worker = &parties.worker;
    let (manifest, report) = (parties.manifest.as_ref(), parties.report.as_ref());
    let worked_on = [
        Some((&parties.source, Place::Source, worker)),
        Some((&parties.destination, Place::Destination, worker)),
        manifest.map(|(bucket, who)| (bucket, Place::Manifest, who)),
        report.map(|(bucket, who)| (bucket, Place::Report, who)),
    ];
    let of_others = worked_on
        .into_iter()
        .flatten()
        .filter(|(bucket, _, who)| bucket.account != who.account)
        .map(|(bucket, place, who)| {
            let mut statements = statements(parties, needs, &[place], Some(who));
            // S3 refuses a bucket policy that speaks of another service.
            statements.retain(|statement| statement.sid != sid(place, On::Key));
            (bucket, place.as_str(), statements)
        });
    let acl = parties.enforce_acl.then(|| {
        let (bucket, place) = (&parties.destination, Place::Destination);
        (bucket, place.as_str(), vec![full_control(parties)])
    });
    let inventory = parties.inventory.as_ref();
    let inventory = inventory.map(|bucket| (bucket, "inventory", vec![delivery(parties, bucket)]));
    let mut all: Vec<(&Bucket, &str, Vec<Statement>)> = Vec::new();
    for (bucket, name, statements) in of_others.chain(acl).chain(inventory) {
        match all.iter_mut().find(|(known, ..)| known.name == bucket.name) {
            Some((_, _, there)) => there.extend(statements),
            None => all.push((bucket, name, statements)),
        }
    }
    all.into_iter()
        .map(|(bucket, name, statements)| Document {
            id: format!("{name}-bucket-policy"),
            kind: Kind::BucketPolicy,
            account: bucket.account.clone(),
            on: bucket_arn(&worker.partition, &bucket.name),
            why: "a bucket has one policy: where it has one already, --merge shows both as one"
                .into(),
            document: Body::Policy(Policy::new(statements)),
        })
        .collect()
}

/// Refuses whoever writes with another ACL than one that gives the bucket's owner full control.
///
/// A request without an ACL passes: parts of an upload carry none, and cannot be told from those that
/// should. Ownership that is enforced by the bucket makes up for it.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ensure-object-ownership.html>
fn full_control(parties: &Parties) -> Statement {
    let Bucket { name, .. } = &parties.destination;
    let objects = objects_arn(&parties.worker.partition, name, "");
    let mut deny = Statement::allow(
        "OnlyFullControl",
        vec!["s3:PutObject".into()],
        vec![objects],
    );
    deny.effect = Effect::Deny;
    deny.principal = Some(json!("*"));
    deny.under(json!({
        "Null": {"s3:x-amz-acl": "false"},
        "StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"},
    }))
}

/// Lets S3 deliver inventories of the source, and nobody else's in its name: an ARN of a bucket has no
/// account in it, so that both conditions are needed.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/configure-inventory.html>
fn delivery(parties: &Parties, inventory: &Bucket) -> Statement {
    let partition = &parties.worker.partition;
    let source = &parties.source;
    let objects = objects_arn(partition, &inventory.name, &inventory.prefix);
    let mut allow = Statement::allow(
        "DeliverInventory",
        vec!["s3:PutObject".into()],
        vec![objects],
    );
    allow.principal = Some(json!({"Service": "s3.amazonaws.com"}));
    allow.under(json!({
        "ArnLike": {"aws:SourceArn": bucket_arn(partition, &source.name)},
        "StringEquals": {
            "aws:SourceAccount": source.account,
            "s3:x-amz-acl": "bucket-owner-full-control",
        },
    }))
}

/// Statements for the policies of keys.
fn keys(parties: &Parties, needs: &[Need]) -> Vec<Document> {
    let sides = [
        (Place::Source, &parties.source_keys),
        (Place::Destination, &parties.destination_keys),
    ];
    let mut all = Vec::new();
    for (place, keys) in sides {
        let worker = &parties.worker;
        for (number, key) in keys.iter().enumerate() {
            let mut statements = statements(parties, needs, &[place], Some(worker));
            statements.retain(|statement| statement.sid == sid(place, On::Key));
            for statement in &mut statements {
                // In its own policy a key is all there is.
                statement.resource = vec!["*".into()];
            }
            let number = if number == 0 {
                String::new()
            } else {
                format!("-{}", number + 1)
            };
            all.push(Document {
                id: format!("{}-key-policy{number}", place.as_str()),
                kind: Kind::KeyPolicy,
                account: key.account.clone(),
                on: key.text.clone(),
                why: if key.account == worker.account {
                    "not needed where the key's policy leaves it to its account's own policies, as it does \
                     at first"
                } else {
                    "goes into the key's policy beside what is there; objects under the key aws/s3 of \
                     another account cannot be read at all"
                }
                .into(),
                document: Body::Policy(Policy::new(statements)),
            });
        }
    }
    all
}

fn ownership(parties: &Parties) -> Document {
    let Bucket { name, account, .. } = &parties.destination;
    Document {
        id: "destination-ownership".into(),
        kind: Kind::OwnershipControls,
        account: account.clone(),
        on: bucket_arn(&parties.worker.partition, name),
        why: "makes the bucket's owner the owner of all that is in it, whoever writes; its ACLs end, so \
              look first whether one is in use"
            .into(),
        document: Body::Setting(json!({"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})),
    }
}

/// Access by ACLs instead of the source bucket's policy: what there was before.
fn acls(parties: &Parties, owner: &str, reader: &str) -> [Document; 2] {
    let grant = |id: &str, permission: &str| json!({"Grantee": {"Type": "CanonicalUser", "ID": id}, "Permission": permission});
    let grants = [grant(owner, "FULL_CONTROL"), grant(reader, "READ")];
    let acl = json!({"Owner": {"ID": owner}, "Grants": grants});
    let Bucket {
        name,
        prefix,
        account,
    } = &parties.source;
    let partition = &parties.worker.partition;
    let document = |id: &str, on, why: &str| Document {
        id: id.into(),
        kind: Kind::Acl,
        account: account.clone(),
        on,
        why: why.into(),
        document: Body::Setting(acl.clone()),
    };
    [
        document(
            "source-bucket-acl",
            bucket_arn(partition, name),
            "in place of the bucket's policy, only where that cannot be had and ACLs are on: lets the \
             bucket be listed and looked at; replaces the ACL that is there",
        ),
        document(
            "source-object-acl",
            objects_arn(partition, name, prefix),
            "of each object, one by one: lets it be read, but not its tags nor its annotations, so the \
             job needs --tags none --annotations exclude",
        ),
    ]
}
