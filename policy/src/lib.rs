//! Who may do what: tags are locks, roles are rings of keys.
