//! The cutover flag in memory. A change takes effect immediately, but applications continue to obey their cached flag
//! until their caches expire. The tool has to wait until then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backfill::internals::cutover::{Flag, FlagMeta, FlagStore, FlagStoreError, WriteTo};

#[derive(Default)]
pub(crate) struct MemoryFlag(Mutex<Option<(Flag, FlagMeta)>>);

impl MemoryFlag {
    pub(crate) fn new() -> Arc<MemoryFlag> {
        Arc::default()
    }

    /// Returns the attributes that applications currently write.
    pub(crate) fn write_to(&self) -> WriteTo {
        self.0.lock().unwrap().as_ref().map_or(WriteTo::Old, |(flag, _)| flag.write)
    }
}

#[async_trait]
impl FlagStore for MemoryFlag {
    async fn read(&self) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn change(&self, expected: Option<&Flag>, next: &Flag, meta: &FlagMeta) -> Result<Flag, FlagStoreError> {
        let mut flag = self.0.lock().unwrap();
        assert_eq!(flag.as_ref().map(|(flag, _)| flag), expected, "nobody else may change the flag");
        *flag = Some((next.clone(), meta.clone()));
        Ok(next.clone())
    }

    fn propagation_delay(&self) -> Duration {
        Duration::ZERO
    }

    fn location(&self) -> String {
        "the flag of the world".into()
    }
}
