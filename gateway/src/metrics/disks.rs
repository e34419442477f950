//! The series of the disks that the gateway writes to.

use prometheus::{Error, IntGaugeVec};

use super::register::{Registrar, whole};

/// The series, each beside its meaning.
#[derive(Debug)]
pub struct Disks {
    free: IntGaugeVec,
    size: IntGaugeVec,
}

impl Disks {
    pub(super) fn register(registrar: &mut Registrar) -> Result<Self, Error> {
        let labels = &["place"];
        Ok(Self {
            free: registrar.gauges(
                "portcullis_disk_free_bytes",
                "Room that is left on the disk of a place. `place` is state (`state.path`), or file or sqlite where the audit \
                 trail goes there.",
                labels,
            )?,
            size: registrar.gauges("portcullis_disk_size_bytes", "How large the disk of a place is.", labels)?,
        })
    }

    /// The disk of a place has so many bytes, of which so many are free; `place` is of a closed set.
    pub fn observe(&self, place: &'static str, free: u64, size: u64) {
        self.free.with_label_values(&[place]).set(whole(free));
        self.size.with_label_values(&[place]).set(whole(size));
    }
}
