//! The promises of the design, by name.

use s3haul::job::report::row::TaskStatus;

use crate::support::{World, count};

#[tokio::test(flavor = "multi_thread")]
async fn accounted_every_row_ends_in_exactly_one_row() {
    let world = World::new();
    world.small_objects(200);
    let keys: Vec<_> = (0..210).map(|n| format!("k{n:05}")).collect();
    world.manifest_of(&keys);
    let run = world.copy(&[]).await;
    run.expect(1);
    let rows = world.rows();
    assert_eq!(rows.len(), 210);
    assert_eq!(count(&rows, TaskStatus::Succeeded), 200);
    assert_eq!(world.rows_by_key().len(), 210);
    assert_eq!(run.summary("succeeded"), 200);
    assert_eq!(run.summary("errors"), serde_json::json!({"NoSuchKey": 10}));
    for key in &keys[..200] {
        world.assert_copied(key);
    }
}
