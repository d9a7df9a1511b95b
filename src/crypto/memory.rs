//! Results of pure functions, for a process that runs many replicas: what each of them would compute from the same
//! arguments is computed once. A simulator hands memories in; nobody else does, and without one everything is computed
//! each time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Results that are kept; beyond, all are forgotten.
const MAX_RESULTS: usize = 1 << 16;

/// What a function gave, by its arguments. Copies share what they know.
pub(super) struct Memory<K, V>(Arc<Mutex<BTreeMap<K, V>>>);

impl<K: Ord, V: Clone> Memory<K, V> {
    /// What `compute` gives for `key`, which stands for all that it depends on.
    pub fn recall(&self, key: K, compute: impl FnOnce() -> V) -> V {
        if let Some(known) = self.get(&key) {
            return known;
        }
        // Not under the lock: others go on meanwhile.
        let value = compute();
        self.note(key, value.clone());
        value
    }

    pub fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).cloned()
    }

    pub fn note(&self, key: K, value: V) {
        let mut results = self.lock();
        if results.len() >= MAX_RESULTS {
            results.clear();
        }
        results.insert(key, value);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Clone for Memory<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// All memories are alike: they change no result.
impl<K, V> PartialEq for Memory<K, V> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<K, V> Eq for Memory<K, V> {}

impl<K, V> fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}
