//! What a commit survives.

/// What a commit survives once it has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process. A power cut may take the latest commits away, but never a part of one.
    #[default]
    Process,
    /// A power cut, too: every commit waits for the disk.
    Power,
}

impl Durability {
    /// The durability of this name: `process`, `power`.
    pub fn from_name(name: &str) -> Option<Durability> {
        match name {
            "process" => Some(Durability::Process),
            "power" => Some(Durability::Power),
            _ => None,
        }
    }
}
