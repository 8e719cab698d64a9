//! Metric queries.
