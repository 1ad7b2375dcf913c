//! A table that never takes long to grow.
//!
//! A hash map that is full moves everything at once, and hashes all of it again. With a hundred thousand data keys that
//! is some 80 ms, in which no read finds its key. Here each of several tables grows by itself, and keeps the hashes.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

/// How many tables there are. A power of two.
const TABLES: usize = 64;

/// A map; what it is like to the outside is a [`HashMap`](std::collections::HashMap) of few methods.
pub(super) struct Table<K, V> {
    hashes: RandomState,
    tables: Box<[HashTable<Row<K, V>>]>,
    len: usize,
}

/// Where a key's row is found, among others: its hash. A quarter of a key, where many are remembered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Whereabouts(u64);

struct Row<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub(super) fn new() -> Self {
        Self {
            hashes: RandomState::new(),
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hashes.hash_one(key);
        let table = self.tables.get(place(hash))?;
        let row = table.find(hash, |row| row.hash == hash && row.key == *key);
        row.map(|row| &row.value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hashes.hash_one(key);
        let table = self.tables.get_mut(place(hash))?;
        let row = table.find_mut(hash, |row| row.hash == hash && row.key == *key);
        row.map(|row| &mut row.value)
    }

    /// The row at `at` whose value is the one meant.
    pub(super) fn find_mut(
        &mut self,
        Whereabouts(hash): Whereabouts,
        is_meant: impl Fn(&V) -> bool,
    ) -> Option<(&K, &mut V)> {
        let table = self.tables.get_mut(place(hash))?;
        let row = table.find_mut(hash, |row| row.hash == hash && is_meant(&row.value));
        row.map(|row| (&row.key, &mut row.value))
    }

    /// Puts in a key that is not there. Returns where.
    pub(super) fn insert_new(&mut self, key: K, value: V) -> Whereabouts {
        let hash = self.hashes.hash_one(&key);
        if let Some(table) = self.tables.get_mut(place(hash)) {
            table.insert_unique(hash, Row { hash, key, value }, |row| row.hash);
            self.len += 1;
        }
        Whereabouts(hash)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let hash = self.hashes.hash_one(key);
        let table = self.tables.get_mut(place(hash))?;
        let row = table.find_entry(hash, |row| row.hash == hash && row.key == *key);
        let (row, _) = row.ok()?.remove();
        self.len -= 1;
        Some(row.value)
    }

    pub(super) fn clear(&mut self) {
        for table in &mut self.tables {
            table.clear();
        }
        self.len = 0;
    }
}

/// Which table: by bits that tell little about the place in it.
fn place(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or_default() % TABLES
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8),
        Take(u8),
        Change(u8),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => any::<u8>().prop_map(Step::Put),
            4 => any::<u8>().prop_map(Step::Take),
            4 => any::<u8>().prop_map(Step::Change),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec(step(), 0..400)) {
            let (mut table, mut map) = (Table::new(), HashMap::new());
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put(key) => {
                        prop_assert_eq!(table.remove(&key), map.remove(&key));
                        let found = table.insert_new(key, at);
                        map.insert(key, at);
                        let row = table.find_mut(found, |value| *value == at);
                        prop_assert_eq!(row.map(|(key, _)| *key), Some(key));
                        prop_assert!(table.find_mut(found, |_| false).is_none());
                    }
                    Step::Take(key) => prop_assert_eq!(table.remove(&key), map.remove(&key)),
                    Step::Change(key) => {
                        if let Some(value) = table.get_mut(&key) {
                            *value += 1;
                        }
                        map.entry(key).and_modify(|value| *value += 1);
                    }
                    Step::Clear => {
                        table.clear();
                        map.clear();
                    }
                }
                prop_assert_eq!(table.len(), map.len());
            }
            for key in 0..=u8::MAX {
                prop_assert_eq!(table.get(&key), map.get(&key));
            }
        }
    }

    #[test]
    fn rows_of_one_hash_are_told_apart() {
        let mut table = Table::new();
        let at = table.insert_new("a", 1);
        let same = |key, value| Row {
            hash: at.0,
            key,
            value,
        };
        for (key, value) in [("b", 2), ("c", 3)] {
            table.tables[place(at.0)].insert_unique(at.0, same(key, value), |row| row.hash);
        }
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            let found = table.find_mut(at, |there| *there == value);
            assert_eq!(found.map(|(key, _)| *key), Some(key));
        }
        assert!(table.find_mut(at, |there| *there == 4).is_none());
    }

    #[test]
    fn all_tables_are_used_alike() {
        let mut table = Table::new();
        for key in 0..64_000_u64 {
            table.insert_new(key, ());
        }
        let lens = || table.tables.iter().map(HashTable::len);
        assert!(lens().min() > Some(700) && lens().max() < Some(1_300));
    }
}
