//! Converts the projections of indexes.

use aws_sdk_dynamodb::types::{Projection as SdkProjection, ProjectionType};

use crate::item::Projection;

/// Returns an index's projection. An unknown projection is treated as the most expensive one.
pub(super) fn projection_of(projection: Option<&SdkProjection>) -> Projection {
    match projection.and_then(SdkProjection::projection_type) {
        Some(ProjectionType::KeysOnly) => Projection::KeysOnly,
        Some(ProjectionType::Include) => {
            Projection::Include(projection.map(|p| p.non_key_attributes().to_vec()).unwrap_or_default())
        }
        _ => Projection::All,
    }
}
