//! Which pages to ask for, so that each key is listed exactly once: values in, values out.
//!
//! The key space is a set of ranges, at first one for each prefix. A range is listed page by page. Where a page
//! says that there is more, a *probe* asks for a page behind some later key; if there is anything between that
//! key and the range's end, the range is split there, and the probe's page is the first one of the new range.
//! Until a probe is answered it changes nothing: one that fails or comes too late is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use s3haul_s3::{ListFrom, ListedObject, ListedPage};

/// What a listing has left to do.
#[derive(Debug)]
pub(super) struct Walk {
    /// Prefixes not begun.
    prefixes: VecDeque<String>,
    /// By their numbers.
    ranges: BTreeMap<u64, Range>,
    /// Ranges made so far.
    made: u64,
    /// A key has one entry, not one a version.
    unique: bool,
    /// Ranges may be split.
    splits: bool,
    /// One was split: from then on the listing relies on the order of keys.
    split: bool,
}

/// A part of the key space that is listed page by page.
#[derive(Debug)]
struct Range {
    prefix: Arc<str>,
    /// Where its next page begins.
    from: ListFrom,
    /// The last key listed, or the key behind which it begins.
    after: Option<String>,
    /// The last key that is its own; all of the prefix's without one.
    until: Option<String>,
    /// The how-manieth character that can differ is the one that the next probe changes.
    stride: usize,
    /// A page is under way.
    page_asked: bool,
    /// A probe is under way.
    probe_asked: bool,
    /// A page came since the last probe was sent. Where little is left most probes find nothing, and one a page
    /// is enough.
    fresh: bool,
}

/// A request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    range: u64,
    pub(super) prefix: Arc<str>,
    pub(super) from: ListFrom,
    /// The key that it looks behind, if it is a probe.
    probe: Option<String>,
}

/// A key that did not come in its place, although the listing had been split by the order of keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfOrder(pub(super) String);

impl Walk {
    /// Lists what begins with one of `prefixes`. Without `splits` one page follows the other.
    pub(super) fn new(mut prefixes: Vec<String>, unique: bool, splits: bool) -> Self {
        prefixes.sort();
        // What begins with the later one begins with the earlier one too.
        prefixes.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
        Self {
            prefixes: prefixes.into(),
            ranges: BTreeMap::new(),
            made: 0,
            unique,
            splits,
            split: false,
        }
    }

    /// The next request that is worth sending now: the pages of all ranges before any probe.
    ///
    /// None when all that is left is under way; with nothing under way, when the listing is over.
    pub(super) fn next(&mut self) -> Option<Ask> {
        if self.ranges.values().all(|range| range.page_asked)
            && let Some(prefix) = self.prefixes.pop_front()
        {
            self.add(Range::new(prefix.into(), None, None));
        }
        let mut ranges = self.ranges.iter_mut();
        if let Some((id, range)) = ranges.find(|(_, range)| !range.page_asked) {
            range.page_asked = true;
            return Some(range.ask(*id, None));
        }
        if !self.splits {
            return None;
        }
        let mut ranges = self.ranges.iter_mut();
        ranges.find_map(|(id, range)| {
            let key = range.probe()?;
            (range.probe_asked, range.fresh) = (true, false);
            Some(range.ask(*id, Some(key)))
        })
    }

    /// Takes a page, and gives those of its objects that no other page gives.
    ///
    /// # Errors
    /// A key is out of order. Before the first split that only ends splitting.
    pub(super) fn answered(
        &mut self,
        ask: &Ask,
        page: ListedPage,
    ) -> Result<Vec<ListedObject>, OutOfOrder> {
        let Some(range) = self.ranges.get_mut(&ask.range) else {
            return Ok(Vec::new()); // A probe, whose range has come to its end without it.
        };
        let after = ask.probe.as_ref().or(range.after.as_ref());
        if let Some(key) = out_of_order(&page.objects, after, self.unique) {
            if self.split {
                return Err(OutOfOrder(key));
            }
            self.splits = false;
        }
        let Some(key) = &ask.probe else {
            let (objects, ended) = range.take(page);
            if ended {
                self.ranges.remove(&ask.range);
            }
            return Ok(objects);
        };
        range.probe_asked = false;
        if !self.splits {
            return Ok(Vec::new());
        }
        if range.after.as_ref() >= Some(key) {
            // It looked too near: the page meanwhile has listed what it found.
            range.stride = (range.stride / 2).max(1);
            return Ok(Vec::new());
        }
        let until = range.until.replace(key.clone());
        let mut rest = Range::new(Arc::clone(&range.prefix), Some(key.clone()), until);
        let (objects, ended) = rest.take(page);
        let found = !(objects.is_empty() && ended);
        // Where keys begin alike for long, what is changed moves on in ever longer steps.
        range.stride = if found { 1 } else { 2 * range.stride };
        self.split = true;
        if !ended {
            self.add(rest);
        }
        Ok(objects)
    }

    /// Takes a failure, and says whether the listing goes on: without a probe it does, but is split no more.
    pub(super) fn failed(&mut self, ask: &Ask) -> bool {
        if ask.probe.is_some() {
            self.splits = false;
        }
        ask.probe.is_some()
    }

    fn add(&mut self, range: Range) {
        self.ranges.insert(self.made, range);
        self.made += 1;
    }
}

impl Range {
    fn new(prefix: Arc<str>, after: Option<String>, until: Option<String>) -> Self {
        Self {
            prefix,
            from: ListFrom::Start,
            after,
            until,
            stride: 1,
            page_asked: false,
            probe_asked: false,
            fresh: false,
        }
    }

    fn ask(&self, range: u64, probe: Option<String>) -> Ask {
        let from = match &probe {
            Some(key) => ListFrom::After(key.clone()),
            None => self.from.clone(),
        };
        Ask {
            range,
            prefix: Arc::clone(&self.prefix),
            from,
            probe,
        }
    }

    /// Gives the objects of its page that are its own, and says whether it has ended.
    fn take(&mut self, page: ListedPage) -> (Vec<ListedObject>, bool) {
        self.page_asked = false;
        self.fresh = true;
        let mut objects = page.objects;
        let listed = objects.len();
        if let Some(until) = &self.until {
            objects.retain(|object| object.key <= *until);
        }
        if let Some(last) = objects.iter().map(|object| &object.key).max() {
            self.after = Some(last.clone());
        }
        let ended = objects.len() < listed || page.next.is_none();
        if let Some(next) = page.next {
            self.from = next;
        }
        (objects, ended)
    }

    /// A key to look behind, if it is time for a probe.
    fn probe(&self) -> Option<String> {
        if !self.fresh || self.probe_asked {
            return None;
        }
        let after = self.after.as_deref()?;
        split_key(&self.prefix, after, self.until.as_deref(), self.stride)
    }
}

/// A key between the last one listed and the end of its range: `after` up to a character, and the next character
/// in place of that one. What begins like `after` up to there stays in the range, all behind it is split off.
///
/// The first character that can be changed splits off the most. With a larger `stride` a later one is changed, for
/// keys that begin alike; at the last character the stride ends.
fn split_key(prefix: &str, after: &str, until: Option<&str>, stride: usize) -> Option<String> {
    let changeable = after
        .char_indices()
        .filter(|(at, _)| *at >= prefix.len())
        .filter_map(|(at, char)| {
            let next = (char..=char::MAX).nth(1)?;
            let key = format!("{}{next}", &after[..at]);
            until.is_none_or(|until| *key < *until).then_some(key)
        });
    changeable.take(stride).last()
}

/// The first key that is not behind the one before it.
fn out_of_order(objects: &[ListedObject], after: Option<&String>, unique: bool) -> Option<String> {
    for markers in [false, true] {
        let mut last = after;
        for object in objects.iter().filter(|o| o.is_delete_marker == markers) {
            let ordered = |last: &String| object.key > *last || (!unique && object.key == *last);
            if !last.is_none_or(ordered) {
                return Some(object.key.clone());
            }
            last = Some(&object.key);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits() {
        let split = |prefix, after, until, stride| split_key(prefix, after, until, stride);
        let some = |key: &str| Some(key.to_owned());
        assert_eq!(split("", "k100", None, 1), some("l"));
        assert_eq!(split("", "k100", Some("l"), 1), some("k2"));
        assert_eq!(split("", "k100", Some("l"), 2), some("k11"));
        assert_eq!(split("", "k100", Some("l"), 99), some("k101"));
        assert_eq!(split("k1", "k100", None, 1), some("k11"));
        assert_eq!(split("k100", "k100", None, 1), None);
        assert_eq!(split("", "a", Some("b"), 1), None);
        assert_eq!(split("", "a\u{10ffff}", Some("b"), 1), None);
        assert_eq!(split("", "\u{d7ff}z", None, 1), some("\u{e000}"));
        assert_eq!(split("", "ü", Some("🚚"), 1), some("ý"));
    }

    fn object(key: &str, version: usize) -> ListedObject {
        ListedObject {
            key: key.to_owned(),
            bytes: 1,
            e_tag: "e".to_owned(),
            last_modified: None,
            storage_class: None,
            version_id: Some(version.to_string()),
            is_latest: version == 0,
            is_delete_marker: version % 3 == 2,
        }
    }

    /// A page as S3 makes it, of objects in their order.
    fn page_of(objects: &[ListedObject], ask: &Ask, entries: usize) -> ListedPage {
        let behind = |object: &&ListedObject| match &ask.from {
            ListFrom::Start => true,
            ListFrom::After(key) => object.key > *key,
            ListFrom::Next { marker, version_id } => {
                let number = |id: &Option<String>| id.as_ref().unwrap().parse::<usize>().unwrap();
                (&object.key, number(&object.version_id)) > (marker, number(version_id))
            }
        };
        let fitting = objects.iter().filter(|o| o.key.starts_with(&*ask.prefix));
        let mut left = fitting.filter(behind).cloned();
        let mut page: Vec<_> = left.by_ref().take(entries).collect();
        let next = left.next().and(page.last()).map(|last| ListFrom::Next {
            marker: last.key.clone(),
            version_id: last.version_id.clone(),
        });
        // As the answer has them: versions, then delete markers.
        page.sort_by_key(|object| object.is_delete_marker);
        ListedPage {
            objects: page,
            next,
        }
    }

    /// Walks with answers in an order of chance, and gives what was listed and how many requests it took.
    fn walk(
        mut walk: Walk,
        objects: &[ListedObject],
        (entries, at_once, failing): (usize, usize, u8),
        random: &mut fastrand::Rng,
    ) -> (Vec<ListedObject>, usize) {
        let (mut listed, mut requests) = (Vec::new(), 0);
        let mut under_way = Vec::new();
        loop {
            while under_way.len() < at_once {
                let Some(ask) = walk.next() else { break };
                requests += 1;
                under_way.push(ask);
            }
            assert!(walk.ranges.len() <= at_once);
            if under_way.is_empty() {
                return (listed, requests);
            }
            let ask = under_way.swap_remove(random.usize(..under_way.len()));
            if ask.probe.is_some() && random.u8(..100) < failing {
                assert!(walk.failed(&ask));
                continue;
            }
            listed.extend(
                walk.answered(&ask, page_of(objects, &ask, entries))
                    .unwrap(),
            );
        }
    }

    proptest! {
        #[test]
        fn each_version_is_listed_exactly_once(
            keys in proptest::collection::btree_set(
                proptest::collection::vec(
                    proptest::sample::select(vec![
                        "a", "b", "0", "1", "/", " ", "+", "%", "\u{1}", "\n", "~", "\u{7f}", "ü", "\u{d7ff}",
                        "\u{e000}", "\u{ffff}", "🚚", "\u{10ffff}", "long/alike/",
                    ]), 1..6).prop_map(|parts| parts.concat()),
                0..150),
            versions in 1_usize..4,
            prefixes in prop_oneof![
                Just(vec![""]), Just(vec!["a"]), Just(vec!["long/alike/", "b", "ü", "long/", "b"]),
            ],
            entries in 1_usize..9,
            at_once in 1_usize..12,
            failing in prop_oneof![Just(0_u8), Just(0), Just(5)],
            seed: u64,
        ) {
            let objects: Vec<_> = keys
                .iter()
                .flat_map(|key| (0..versions).map(move |version| object(key, version)))
                .collect();
            let expected: Vec<_> = objects
                .iter()
                .filter(|object| prefixes.iter().any(|prefix| object.key.starts_with(prefix)))
                .cloned()
                .collect();
            let starts = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
            let new = Walk::new(starts, versions == 1, at_once > 1);
            let random = &mut fastrand::Rng::with_seed(seed);
            let (mut listed, requests) = walk(new, &objects, (entries, at_once, failing), random);
            listed.sort_by_key(|object| (object.key.clone(), object.version_id.clone()));
            prop_assert_eq!(listed, expected);
            // No more than a probe a page, and each range's last page may be short.
            prop_assert!(requests <= 4 * objects.len() / entries + 4 * (at_once + prefixes.len()) + 4, "{}", requests);
        }
    }

    /// Rounds and requests of a walk in which all that is under way is answered before anything else is asked.
    fn rounds(
        keys: impl IntoIterator<Item = String>,
        entries: usize,
        at_once: usize,
    ) -> (usize, usize) {
        let mut objects: Vec<_> = keys.into_iter().map(|key| object(&key, 0)).collect();
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        let mut walk = Walk::new(vec![String::new()], true, true);
        let (mut listed, mut rounds, mut requests) = (0, 0, 0);
        loop {
            let asks: Vec<_> = std::iter::from_fn(|| walk.next()).take(at_once).collect();
            if asks.is_empty() {
                assert_eq!(listed, objects.len());
                return (rounds, requests);
            }
            rounds += 1;
            requests += asks.len();
            for ask in asks {
                let page = page_of(&objects, &ask, entries);
                listed += walk.answered(&ask, page).unwrap().len();
            }
        }
    }

    #[test]
    fn listings_of_every_shape_are_split() {
        type Shape = (&'static str, fn(u64) -> String);
        let shapes: [Shape; 5] = [
            ("numbers", |n| format!("logs/2026/01/part-{n:06}")),
            ("folders", |n| {
                format!(
                    "AWSLogs/111122223333/x/2026/{:02}/{:02}/{n}",
                    n / 330,
                    n / 11 % 30
                )
            }),
            ("hashes", |n| {
                format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            }),
            ("words", |n| {
                format!("ü/{}/é", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_003)
            }),
            ("one folder of many", |n| {
                format!("{}/{n:05}", if n < 300 { "a" } else { "b" })
            }),
        ];
        for (shape, key) in shapes {
            let (rounds, requests) = rounds((0..4000).map(key), 10, 16);
            assert!(
                rounds < 100,
                "{shape}: 400 pages in {rounds} rounds of at most 16"
            );
            assert!(
                requests < 1000,
                "{shape}: 400 pages took {requests} requests"
            );
        }
    }

    #[test]
    fn a_store_without_order_is_listed_flat() {
        let page = |keys: &[&str], next: &str| ListedPage {
            objects: keys.iter().map(|key| object(key, 0)).collect(),
            next: (!next.is_empty()).then(|| ListFrom::Next {
                marker: next.to_owned(),
                version_id: None,
            }),
        };
        let mut walk = Walk::new(vec![String::new()], true, true);
        let ask = walk.next().unwrap();
        let listed = walk.answered(&ask, page(&["b", "a"], "1")).unwrap();
        assert_eq!(listed.len(), 2);
        let ask = walk.next().unwrap();
        assert_eq!(walk.next(), None);
        assert_eq!(walk.answered(&ask, page(&["a0"], "")).unwrap().len(), 1);
        assert_eq!(walk.next(), None);

        // Once the listing is split, keys would be lost.
        let mut walk = Walk::new(vec![String::new()], true, true);
        let ask = walk.next().unwrap();
        walk.answered(&ask, page(&["a", "b"], "1")).unwrap();
        let (flat, probe) = (walk.next().unwrap(), walk.next().unwrap());
        assert_eq!(probe.from, ListFrom::After("c".to_owned()));
        walk.answered(&probe, page(&["d"], "2")).unwrap();
        let refused = walk.answered(&flat, page(&["b1", "a"], "3"));
        assert_eq!(refused, Err(OutOfOrder("a".to_owned())));
    }
}
