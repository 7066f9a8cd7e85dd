//! The objects of one kind, kept current by a watch and found by the Proxy that they belong to.
//!
//! A list that begins anew takes nothing away until it is complete, so nobody ever sees half of the objects.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use kube::runtime::watcher::Event;

use crate::key::ObjectKey;

/// What a table holds of an object.
pub trait Row: Sized {
    /// Whether a change can concern every Proxy on the host network, where they share ports.
    const SPREADS: bool = false;

    /// The Proxy that has to look when this object changes.
    fn proxy(&self, key: &ObjectKey) -> Option<ObjectKey>;

    /// Whether nobody has to look when this object turns into the other.
    fn is_same(&self, other: &Self) -> bool;

    /// What becomes of this object when it turns into `next`.
    #[must_use]
    fn then(&self, next: Self) -> Self {
        next
    }
}

/// The objects of one kind.
#[derive(Debug)]
pub struct Table<R> {
    rows: BTreeMap<ObjectKey, Arc<R>>,
    by_proxy: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// What the list that is under way has brought.
    listed: Option<HashSet<ObjectKey>>,
    /// Whether a list was ever complete.
    pub is_ready: bool,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), by_proxy: HashMap::new(), listed: None, is_ready: false }
    }
}

impl<R: Row> Table<R> {
    /// What a watch brings. Returns the Proxies that have to look.
    pub fn apply(&mut self, event: Event<(ObjectKey, R)>) -> BTreeSet<ObjectKey> {
        match event {
            Event::Init => self.begin(),
            Event::InitApply((key, row)) | Event::Apply((key, row)) => return self.put(key, row),
            Event::InitDone => return self.end(),
            Event::Delete((key, _)) => return self.remove(&key),
        }
        BTreeSet::new()
    }

    /// A list begins.
    pub fn begin(&mut self) {
        self.listed = Some(HashSet::new());
    }

    /// The list is complete: what it did not bring is gone. Returns the Proxies that have to look.
    pub fn end(&mut self) -> BTreeSet<ObjectKey> {
        self.is_ready = true;
        let Some(listed) = self.listed.take() else { return BTreeSet::new() };
        let gone: Vec<ObjectKey> = self.rows.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        gone.iter().flat_map(|key| self.remove(key)).collect()
    }

    /// An object is there, or is another now. Returns the Proxies that have to look.
    pub fn put(&mut self, key: ObjectKey, row: R) -> BTreeSet<ObjectKey> {
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
        self.replace(key, row)
    }

    /// As [`Self::put`], of what no watch brought.
    pub fn replace(&mut self, key: ObjectKey, row: R) -> BTreeSet<ObjectKey> {
        let before = self.rows.get(&key).cloned();
        let row = match &before {
            Some(before) => before.then(row),
            None => row,
        };
        let is_same = before.as_ref().is_some_and(|before| before.is_same(&row));
        let left = before.and_then(|before| before.proxy(&key));
        let joined = row.proxy(&key);
        self.rows.insert(key.clone(), Arc::new(row));
        if left != joined {
            self.leave(left.as_ref(), &key);
            if let Some(proxy) = &joined {
                self.by_proxy.entry(proxy.clone()).or_default().insert(key);
            }
        }
        if is_same { BTreeSet::new() } else { left.into_iter().chain(joined).collect() }
    }

    /// An object is gone. Returns the Proxies that have to look.
    pub fn remove(&mut self, key: &ObjectKey) -> BTreeSet<ObjectKey> {
        let left = self.rows.remove(key).and_then(|row| row.proxy(key));
        self.leave(left.as_ref(), key);
        left.into_iter().collect()
    }

    fn leave(&mut self, proxy: Option<&ObjectKey>, key: &ObjectKey) {
        let Some(proxy) = proxy else { return };
        if let Some(keys) = self.by_proxy.get_mut(proxy) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_proxy.remove(proxy);
            }
        }
    }

    /// An object.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<R>> {
        self.rows.get(key)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<R>)> {
        self.rows.iter()
    }

    /// The objects of a Proxy, in the order of their names.
    pub fn of(&self, proxy: &ObjectKey) -> impl Iterator<Item = (&ObjectKey, &Arc<R>)> {
        let keys = self.by_proxy.get(proxy).into_iter().flatten();
        keys.filter_map(|key| self.rows.get_key_value(key))
    }

    /// Proxies that objects of a namespace belong to.
    pub fn proxies_of_namespace(&self, namespace: &str) -> BTreeSet<ObjectKey> {
        let first = ObjectKey::new(namespace, "");
        let rows = self.rows.range((Bound::Included(first), Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.namespace == namespace);
        rows.filter_map(|(key, row)| row.proxy(key)).collect()
    }

    /// Proxies that any object belongs to.
    pub fn proxies(&self) -> impl Iterator<Item = &ObjectKey> {
        self.by_proxy.keys()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name of the Proxy, and a value of which only tens matter.
    struct Pair(&'static str, u32);

    impl Row for Pair {
        fn proxy(&self, key: &ObjectKey) -> Option<ObjectKey> {
            Some(ObjectKey::new(key.namespace.clone(), self.0))
        }

        fn is_same(&self, other: &Self) -> bool {
            self.0 == other.0 && self.1 / 10 == other.1 / 10
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("net", name)
    }

    fn names(keys: BTreeSet<ObjectKey>) -> Vec<String> {
        keys.into_iter().map(|key| key.name).collect()
    }

    #[test]
    fn both_the_old_and_the_new_proxy_look_when_an_object_moves() {
        let mut table = Table::default();
        assert_eq!(names(table.put(key("a"), Pair("edge", 0))), ["edge"]);
        assert!(table.put(key("a"), Pair("edge", 9)).is_empty(), "nothing that matters");
        assert_eq!(names(table.put(key("a"), Pair("core", 9))), ["core", "edge"]);
        assert_eq!(table.of(&key("edge")).count(), 0);
        assert_eq!(table.of(&key("core")).count(), 1);
        assert_eq!(names(table.remove(&key("a"))), ["core"]);
        assert!(table.is_empty() && table.proxies().next().is_none());
    }

    #[test]
    fn a_list_that_begins_anew_takes_away_at_its_end_alone() {
        let mut table = Table::default();
        table.begin();
        table.put(key("a"), Pair("edge", 0));
        table.put(key("b"), Pair("core", 0));
        assert!(!table.is_ready);
        assert!(table.end().is_empty() && table.is_ready);

        table.begin();
        assert!(table.put(key("a"), Pair("edge", 1)).is_empty());
        assert_eq!(table.len(), 2, "still there while the list runs");
        table.begin();
        assert!(table.put(key("a"), Pair("edge", 1)).is_empty());
        assert_eq!(names(table.end()), ["core"]);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_namespace_is_looked_up_without_its_neighbours() {
        let mut table = Table::default();
        for (namespace, proxy) in [("a", "one"), ("b", "two"), ("bb", "three")] {
            table.put(ObjectKey::new(namespace, "x"), Pair(proxy, 0));
        }
        assert_eq!(names(table.proxies_of_namespace("b")), ["two"]);
    }
}
