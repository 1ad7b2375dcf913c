//! Secrets by name: found with few places of memory to look at, and listed in order.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::RangeBounds,
    sync::Arc,
};

use imbl::{OrdMap, OrdSet, ordmap::DiffItem};

use super::Secret;
use crate::SecretName;

/// The secrets of a state. Persistent as the maps that it is made of: a clone shares what it holds.
///
/// A search in order of name has to look at another name at each step, of which there are some seventeen
/// among a hundred thousand secrets, each somewhere else in memory. So a secret is found by its name's hash,
/// which stands in the tree itself, and one name is looked at, at the end. The order of names is kept beside
/// it, for lists; what changes a secret leaves it alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecretMap {
    /// The places of one hash are filled from the first on.
    found: OrdMap<Place, (SecretName, Arc<Secret>)>,
    /// The names in `found`, once each, and the same allocations.
    names: OrdSet<SecretName>,
}

/// Where a secret is found: one of as many places as there are names of one hash. That is one, unless
/// somebody has searched for such names, who has made those slower to find by a step each.
///
/// It holds no reference to a name: a change copies the nodes on its way, and what they refer to has to be
/// counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    hash: u64,
    nth: u32,
}

impl Place {
    /// The first place for a name. The hash may be another in another build: it is never written or sent, and
    /// no order that can be seen depends on it.
    fn first(name: &SecretName) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        // The tests in this crate's sources know few hashes, so that they meet names that share one.
        let few = if cfg!(test) { 7 } else { u64::MAX };
        Self {
            hash: hasher.finish() & few,
            nth: 0,
        }
    }

    fn next(self) -> Self {
        Self {
            nth: self.nth + 1,
            ..self
        }
    }
}

impl SecretMap {
    /// All of these at once; `None` if a name is among them twice. They are put into each tree in its own
    /// order: one by one in another, most would wait for places in memory of their own.
    pub(crate) fn of(secrets: Vec<(SecretName, Arc<Secret>)>) -> Option<Self> {
        let count = secrets.len();
        let mut names: Vec<_> = secrets.iter().map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        let mut placed: Vec<_> = secrets
            .into_iter()
            .map(|named| (Place::first(&named.0), named))
            .collect();
        placed.sort_unstable_by_key(|(first, _)| *first);
        let mut map = Self {
            found: OrdMap::new(),
            names: names.into_iter().collect(),
        };
        for (first, named) in placed {
            let place = map.end_of(first);
            map.found.insert(place, named);
        }
        (map.names.len() == count).then_some(map)
    }

    pub(crate) fn get(&self, name: &SecretName) -> Option<&Arc<Secret>> {
        self.find(name).map(|(_, secret)| secret)
    }

    fn find(&self, name: &SecretName) -> Option<(Place, &Arc<Secret>)> {
        let mut place = Place::first(name);
        loop {
            let (there, secret) = self.found.get(&place)?;
            if there == name {
                return Some((place, secret));
            }
            place = place.next();
        }
    }

    /// The first of a hash's places that is free.
    fn end_of(&self, mut place: Place) -> Place {
        while self.found.contains_key(&place) {
            place = place.next();
        }
        place
    }

    pub(crate) fn get_mut(&mut self, name: &SecretName) -> Option<&mut Arc<Secret>> {
        let (place, _) = self.find(name)?;
        self.found.get_mut(&place).map(|(_, secret)| secret)
    }

    pub(crate) fn contains(&self, name: &SecretName) -> bool {
        self.get(name).is_some()
    }

    /// Returns what was there under this name. The name that is there stays: another would be one more
    /// allocation for as long as the secret lives.
    pub(crate) fn insert(&mut self, name: SecretName, secret: Arc<Secret>) -> Option<Arc<Secret>> {
        if let Some(there) = self.get_mut(&name) {
            return Some(std::mem::replace(there, secret));
        }
        let place = self.end_of(Place::first(&name));
        self.found.insert(place, (name.clone(), secret));
        self.names.insert(name);
        None
    }

    pub(crate) fn remove(&mut self, name: &SecretName) -> Option<Arc<Secret>> {
        let (place, _) = self.find(name)?;
        let (_, removed) = self.found.remove(&place)?;
        self.names.remove(name);
        // The last one takes its place, if it was not that itself.
        let mut last = None;
        let mut after = place.next();
        while self.found.contains_key(&after) {
            last = Some(after);
            after = after.next();
        }
        if let Some(moved) = last.and_then(|last| self.found.remove(&last)) {
            self.found.insert(place, moved);
        }
        Some(removed)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All, in order of name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SecretName, &Arc<Secret>)> {
        self.range(..)
    }

    /// Those whose names are in a range, in order of name.
    pub(crate) fn range(
        &self,
        range: impl RangeBounds<SecretName>,
    ) -> impl Iterator<Item = (&SecretName, &Arc<Secret>)> {
        debug_assert_eq!(self.names.len(), self.found.len());
        let names = self.names_in(range);
        names.filter_map(|name| self.get(name).map(|secret| (name, secret)))
    }

    /// The same without the secrets, which it need not look for.
    pub(crate) fn names_in(
        &self,
        range: impl RangeBounds<SecretName>,
    ) -> impl Iterator<Item = &SecretName> {
        self.names.range(range)
    }

    /// The names whose secrets are not the same in `newer`, those that are in one of the two alone
    /// included; in no order, and some maybe twice. Costs as much as there are differences.
    pub(crate) fn changed<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = &'a SecretName> {
        let places = self.found.diff(&newer.found);
        let names = places.flat_map(|place| match place {
            DiffItem::Add(_, (name, _)) | DiffItem::Remove(_, (name, _)) => [Some(name), None],
            DiffItem::Update { old, new } => [Some(&old.1.0), Some(&new.1.0)],
        });
        // One that another has moved is in both, as it was.
        names
            .flatten()
            .filter(|name| self.get(name) != newer.get(name))
    }
}

/// Which of the places of a hash a name has got depends on what was there before it, and makes no difference.
impl PartialEq for SecretMap {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl FromIterator<(SecretName, Arc<Secret>)> for SecretMap {
    fn from_iter<I: IntoIterator<Item = (SecretName, Arc<Secret>)>>(secrets: I) -> Self {
        let mut map = Self::default();
        for (name, secret) in secrets {
            map.insert(name, secret);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::Bound};

    use proptest::prelude::*;

    use super::*;
    use crate::{LogTime, SecretSettings};

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8),
        Take(u8),
        Change(u8),
    }

    fn name(n: u8) -> SecretName {
        SecretName::parse(&format!("secret/{n}")).unwrap()
    }

    fn secret(current_version: u64) -> Arc<Secret> {
        Arc::new(Secret {
            settings: SecretSettings::manual(),
            created_at: LogTime::default(),
            updated_at: LogTime::default(),
            next_rotation_at: None,
            current_version,
            versions: Vec::new(),
            pending: None,
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<u8>().prop_map(Step::Put),
            any::<u8>().prop_map(Step::Take),
            any::<u8>().prop_map(Step::Change),
        ]
    }

    /// Does the same to both, and says whether they answered the same.
    fn take(
        step: &Step,
        map: &mut SecretMap,
        model: &mut BTreeMap<SecretName, Arc<Secret>>,
        at: u64,
    ) -> bool {
        match step {
            Step::Put(n) => map.insert(name(*n), secret(at)) == model.insert(name(*n), secret(at)),
            Step::Take(n) => map.remove(&name(*n)) == model.remove(&name(*n)),
            Step::Change(n) => match (map.get_mut(&name(*n)), model.get_mut(&name(*n))) {
                (Some(here), Some(there)) => {
                    (*here, *there) = (secret(at), secret(at));
                    true
                }
                (here, there) => here.is_none() && there.is_none(),
            },
        }
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(before in proptest::collection::vec(step(), 0..300),
                                after in proptest::collection::vec(step(), 0..60),
                                first: u8) {
            let (mut map, mut model) = (SecretMap::default(), BTreeMap::new());
            for (step, at) in before.iter().zip(0..) {
                prop_assert!(take(step, &mut map, &mut model, at));
            }
            let (older, older_model) = (map.clone(), model.clone());
            for (step, at) in after.iter().zip(1_000..) {
                prop_assert!(take(step, &mut map, &mut model, at));
            }
            prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.range(name(first)..).eq(model.range(name(first)..)));
            let beyond = (Bound::Excluded(name(first)), Bound::Unbounded);
            prop_assert!(map.range(beyond.clone()).eq(model.range(beyond.clone())));
            prop_assert!(map.names_in(beyond.clone()).eq(model.range(beyond).map(|(name, _)| name)));
            let twice = map.names.iter().filter(|name| {
                let (there, _) = &map.found[&map.find(name).unwrap().0];
                !std::ptr::eq(there.as_str(), name.as_str())
            });
            prop_assert_eq!(twice.count(), 0, "a name has one allocation");
            for n in 0..=u8::MAX {
                prop_assert_eq!(map.get(&name(n)), model.get(&name(n)));
                prop_assert_eq!(map.contains(&name(n)), model.contains_key(&name(n)));
            }
            // A clone is not changed by what comes after it, and the difference is told.
            prop_assert!(older.iter().eq(older_model.iter()));
            let mut changed: Vec<_> = older.changed(&map).cloned().collect();
            changed.sort();
            changed.dedup();
            let differs = |n: &u8| older_model.get(&name(*n)) != model.get(&name(*n));
            let mut expected: Vec<_> = (0..=u8::MAX).filter(differs).map(name).collect();
            expected.sort();
            prop_assert_eq!(changed, expected);
            let mut all: Vec<_> = model.into_iter().collect();
            let again: SecretMap = all.iter().cloned().collect();
            prop_assert_eq!(&again, &map);
            all.reverse();
            let whole = SecretMap::of(all.clone());
            prop_assert_eq!(whole.as_ref(), Some(&map));
            if let Some(one) = all.first().cloned() {
                all.push(one);
                prop_assert_eq!(SecretMap::of(all), None);
            }
        }
    }
}
