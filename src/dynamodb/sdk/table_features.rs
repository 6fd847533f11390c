//! Converts the parts of replies about a table's stream, replicas, backups and expiry to the tool's own types.
//!
//! Sources: rustdoc of aws-sdk-dynamodb (`TableDescription`, `StreamSpecification`, `ReplicaDescription`,
//! `ContinuousBackupsDescription`, `TimeToLiveDescription`).

use aws_sdk_dynamodb::primitives::DateTimeFormat;
use aws_sdk_dynamodb::types::{
    ContinuousBackupsDescription, MultiRegionConsistency, PointInTimeRecoveryStatus, ReplicaStatus, StreamViewType,
    TableClass as SdkClass, TableDescription as SdkDescription, TimeToLiveDescription, TimeToLiveStatus,
    VectorIndexDescription,
};

use super::projection::projection_of;
use crate::dynamodb::{Features, Recovery, StreamView, TableClass, VectorIndex};

pub(super) fn features(table: &SdkDescription) -> Features {
    let stream = table.stream_specification().filter(|stream| stream.stream_enabled());
    let view = |view: Option<&StreamViewType>| match view {
        Some(StreamViewType::NewImage) => StreamView::New,
        Some(StreamViewType::OldImage) => StreamView::Old,
        Some(StreamViewType::NewAndOldImages) => StreamView::NewAndOld,
        // Treat an unknown view type as the one with the least content.
        _ => StreamView::Keys,
    };
    let class = table.table_class_summary().and_then(|summary| summary.table_class());
    Features {
        stream: stream.map(|stream| view(stream.stream_view_type())),
        replicas: replicas(table),
        strong_across_regions: table.multi_region_consistency() == Some(&MultiRegionConsistency::Strong),
        class: match class {
            Some(SdkClass::StandardInfrequentAccess) => TableClass::InfrequentAccess,
            _ => TableClass::Standard,
        },
        deletion_protection: table.deletion_protection_enabled(),
        vector_indexes: table.vector_indexes().iter().filter_map(vector_index).collect(),
    }
}

/// Converts a vector index. Returns `None` if the index has no name, because nothing could refer to it.
fn vector_index(index: &VectorIndexDescription) -> Option<VectorIndex> {
    let vector = index.vector_attribute().map(|vector| vector.attribute_name().to_owned());
    let search = index.search_schema().iter().map(|element| element.attribute_name().to_owned());
    Some(VectorIndex {
        name: index.index_name()?.to_owned(),
        attributes: vector.into_iter().chain(search).collect(),
        projection: projection_of(index.projection()),
    })
}

/// Returns the other regions with a replica, including replicas that are being created or deleted.
fn replicas(table: &SdkDescription) -> Vec<String> {
    let own = table.table_arn().and_then(|arn| arn.split(':').nth(3));
    let mut regions: Vec<String> = table
        .replicas()
        .iter()
        .filter(|replica| replica.replica_status() != Some(&ReplicaStatus::CreationFailed))
        .filter_map(|replica| replica.region_name())
        .filter(|region| Some(*region) != own)
        .map(str::to_owned)
        .collect();
    regions.sort();
    regions.dedup();
    regions
}

pub(super) fn recovery(backups: &ContinuousBackupsDescription) -> Recovery {
    let point = backups.point_in_time_recovery_description();
    let earliest = point.and_then(|point| point.earliest_restorable_date_time());
    Recovery {
        enabled: point.and_then(|p| p.point_in_time_recovery_status()) == Some(&PointInTimeRecoveryStatus::Enabled),
        earliest: earliest.and_then(|at| at.fmt(DateTimeFormat::DateTime).ok()),
        days: point.and_then(|p| p.recovery_period_in_days()).and_then(|days| u32::try_from(days).ok()),
    }
}

/// Returns the name of the attribute that contains the expiry time of items. Also returns it while expiry is being
/// turned on or off.
pub(super) fn time_to_live(described: &TimeToLiveDescription) -> Option<String> {
    let off = matches!(described.time_to_live_status(), None | Some(TimeToLiveStatus::Disabled));
    described.attribute_name().filter(|_| !off).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::DateTime;
    use aws_sdk_dynamodb::types::{
        ContinuousBackupsStatus, PointInTimeRecoveryDescription, Projection as SdkProjection, ProjectionType,
        ReplicaDescription, SearchSchemaElement, SearchSchemaElementType, StreamSpecification, TableClassSummary,
        VectorAttributeDefinition,
    };

    use super::*;
    use crate::item::Projection;

    #[test]
    fn a_plain_table_has_no_features() {
        assert_eq!(features(&SdkDescription::builder().build()), Features::default());
        let off = StreamSpecification::builder().stream_enabled(false).build().unwrap();
        assert_eq!(features(&SdkDescription::builder().stream_specification(off).build()).stream, None);
    }

    #[test]
    fn a_global_table_names_its_other_regions() {
        let replica =
            |region: &str, status| ReplicaDescription::builder().region_name(region).replica_status(status).build();
        let stream = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::NewAndOldImages)
            .build()
            .unwrap();
        let table = SdkDescription::builder()
            .table_arn("arn:aws:dynamodb:eu-west-1:123456789012:table/shop")
            .replicas(replica("us-east-1", ReplicaStatus::Active))
            .replicas(replica("eu-west-1", ReplicaStatus::Active))
            .replicas(replica("ap-south-1", ReplicaStatus::Creating))
            .replicas(replica("eu-north-1", ReplicaStatus::CreationFailed))
            .multi_region_consistency(MultiRegionConsistency::Strong)
            .stream_specification(stream)
            .table_class_summary(TableClassSummary::builder().table_class(SdkClass::StandardInfrequentAccess).build())
            .deletion_protection_enabled(false)
            .build();
        let found = features(&table);
        assert_eq!(found.replicas, ["ap-south-1", "us-east-1"]);
        assert_eq!(found.stream, Some(StreamView::NewAndOld));
        assert_eq!((found.class, found.deletion_protection), (TableClass::InfrequentAccess, Some(false)));
        assert!(found.strong_across_regions);
    }

    #[test]
    fn a_vector_index_has_the_attributes_of_its_searches() {
        let element = SearchSchemaElement::builder()
            .attribute_name("tenant")
            .search_schema_element_type(SearchSchemaElementType::InlineFilter)
            .build()
            .unwrap();
        let index = VectorIndexDescription::builder()
            .index_name("by-meaning")
            .vector_attribute(VectorAttributeDefinition::builder().attribute_name("embedding").build().unwrap())
            .search_schema(element)
            .projection(SdkProjection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build();
        let found = features(&SdkDescription::builder().vector_indexes(index).build()).vector_indexes;
        let attributes = vec!["embedding".to_owned(), "tenant".to_owned()];
        assert_eq!(found, [VectorIndex { name: "by-meaning".into(), attributes, projection: Projection::KeysOnly }]);
    }

    #[test]
    fn recovery_is_on_only_if_the_reply_says_so() {
        let backups = |point| {
            ContinuousBackupsDescription::builder()
                .continuous_backups_status(ContinuousBackupsStatus::Enabled)
                .set_point_in_time_recovery_description(point)
                .build()
                .unwrap()
        };
        let point = |status| {
            PointInTimeRecoveryDescription::builder()
                .point_in_time_recovery_status(status)
                .recovery_period_in_days(35)
                .earliest_restorable_date_time(DateTime::from_secs(0))
                .build()
        };
        assert!(!recovery(&backups(None)).enabled);
        assert!(!recovery(&backups(Some(point(PointInTimeRecoveryStatus::Disabled)))).enabled);
        let on = recovery(&backups(Some(point(PointInTimeRecoveryStatus::Enabled))));
        let earliest = Some("1970-01-01T00:00:00Z".to_owned());
        assert_eq!(on, Recovery { enabled: true, earliest, days: Some(35) });
    }

    #[test]
    fn time_to_live_counts_while_it_is_turned_on_or_off() {
        let ttl =
            |status| TimeToLiveDescription::builder().attribute_name("expires").time_to_live_status(status).build();
        assert_eq!(time_to_live(&ttl(TimeToLiveStatus::Disabled)), None);
        for status in [TimeToLiveStatus::Enabled, TimeToLiveStatus::Enabling, TimeToLiveStatus::Disabling] {
            assert_eq!(time_to_live(&ttl(status)).as_deref(), Some("expires"));
        }
    }
}
