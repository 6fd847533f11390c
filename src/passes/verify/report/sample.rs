//! The conclusions from a sample about the whole table, in figures and in words.

use serde::{Deserialize, Serialize};

use super::super::bound::{CONFIDENCE, Clusters, percent_text};
use crate::telemetry::number;

/// The conclusions from a sample about the table's clusters. The figures describe the state of the clusters before any
/// repair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleReport {
    /// The seed with which the clusters were drawn.
    pub seed: u64,
    /// Number of clusters into which the table is divided.
    pub clusters: u32,
    /// Number of clusters that were drawn at random, from all clusters outside the `large` stratum.
    pub drawn: u32,
    /// Number of drawn clusters with a mismatch.
    pub differing: u32,
    /// Number of drawn clusters without an item.
    pub empty: u32,
    /// Number of clusters with large item collections. These clusters form a separate stratum, which was read in full.
    pub large: u32,
    /// Number of clusters in the `large` stratum that have a mismatch.
    pub large_differing: u32,
    /// Upper bound of the number of differing clusters.
    pub at_most_clusters: u32,
    /// The upper bound as a percentage of all clusters, rounded up.
    pub at_most_percent: f64,
    /// The upper bound as a percentage of the clusters that contain items. `None` unless many clusters are empty.
    pub at_most_percent_of_filled: Option<f64>,
    /// The confidence level of the bounds.
    pub confidence: f64,
    /// A text that describes the conclusions from the sample.
    pub statement: String,
}

impl SampleReport {
    /// Creates the report for these clusters, which were drawn with this seed.
    pub fn new(seed: u64, clusters: &Clusters) -> SampleReport {
        SampleReport {
            seed,
            clusters: clusters.all,
            drawn: clusters.drawn,
            differing: clusters.differing,
            empty: clusters.empty,
            large: clusters.large,
            large_differing: clusters.large_differing,
            at_most_clusters: clusters.at_most(),
            at_most_percent: clusters.at_most_percent(),
            at_most_percent_of_filled: clusters.at_most_percent_of_filled(),
            confidence: CONFIDENCE,
            statement: statement(clusters),
        }
    }
}

/// Describes the conclusions from a sample in words. Every figure is a number of clusters. The text does not claim
/// anything about single items.
fn statement(clusters: &Clusters) -> String {
    let Clusters { all, drawn, differing, empty, large, large_differing } = *clusters;
    let [all_text, drawn_text, differing_text, empty, large_text, large_differing] =
        [all, drawn, differing, empty, large, large_differing].map(|n| number(n.into()));
    let beside = match large {
        0 => String::new(),
        _ => format!(
            " In addition, all {large_text} clusters around large item collections were read: {large_differing} differ."
        ),
    };
    if drawn + large >= all {
        return format!("{differing_text} of {drawn_text} clusters differ; all clusters were read.{beside}");
    }
    let percent = percent_text(clusters.at_most_percent());
    let filled = clusters.at_most_percent_of_filled().map_or(String::new(), |percent| {
        let percent = percent_text(percent);
        let but = if large > 0 { ", excluding those around large item collections," } else { "" };
        format!(
            " {empty} of the sampled clusters contain no item. Of the clusters that contain items{but} at most \
             {percent} % differ."
        )
    });
    format!(
        "{differing_text} of {drawn_text} sampled clusters differ. So at most {percent} % of all clusters differ, with \
         95 % confidence. A cluster is one of {all_text} segments of the table.{filled}{beside}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_describes_the_sample() {
        let none = Clusters { all: 1_000_000, drawn: 4_000, ..Clusters::default() };
        assert_eq!(
            statement(&none),
            "0 of 4,000 sampled clusters differ. So at most 0.075 % of all clusters differ, with 95 % confidence. A \
             cluster is one of 1,000,000 segments of the table."
        );
        let empty = Clusters { empty: 3_000, large: 512, large_differing: 2, ..none };
        let text = statement(&empty);
        assert!(
            text.contains("3,000 of the sampled clusters contain no item. Of the clusters that contain items, excluding those around large item collections, at most 0.3 % differ."),
            "{text}"
        );
        assert!(
            text.ends_with("In addition, all 512 clusters around large item collections were read: 2 differ."),
            "{text}"
        );
        let all = Clusters { all: 64, drawn: 64, differing: 1, ..Clusters::default() };
        assert_eq!(statement(&all), "1 of 64 clusters differ; all clusters were read.");
    }
}
