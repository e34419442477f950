//! The stations, in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Stations by id.
#[derive(Debug)]
pub(crate) struct Stations(Mutex<BTreeMap<String, String>>);

impl Default for Stations {
    fn default() -> Self {
        let known = [("berlin", "Berlin-Dahlem"), ("oslo", "Oslo-Blindern"), ("quito", "Quito-Observatorio")];
        Self(Mutex::new(known.into_iter().map(|(id, name)| (id.to_owned(), name.to_owned())).collect()))
    }
}

impl Stations {
    /// Ids and names.
    pub(crate) fn list(&self) -> Vec<(String, String)> {
        self.lock().iter().map(|(id, name)| (id.clone(), name.clone())).collect()
    }

    /// The name of a station.
    pub(crate) fn get(&self, id: &str) -> Option<String> {
        self.lock().get(id).cloned()
    }

    /// Adds or renames a station.
    pub(crate) fn put(&self, id: &str, name: &str) {
        self.lock().insert(id.to_owned(), name.to_owned());
    }

    /// Whether there was such a station.
    pub(crate) fn remove(&self, id: &str) -> bool {
        self.lock().remove(id).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
