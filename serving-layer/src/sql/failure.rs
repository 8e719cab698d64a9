//! Errors of DataFusion, by what the asker can do about them.
//!
//! Own errors travel through DataFusion inside its `External`, and several readers of one part may share one error: so
//! they are told from a reference.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use crate::error::Error;

/// Hands our own error through DataFusion.
pub(super) fn to_datafusion(error: impl Into<Error>) -> DataFusionError {
    DataFusionError::External(Box::new(error.into()))
}

/// What the asker is told.
pub(super) fn of_datafusion(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of_datafusion(inner),
        DataFusionError::Shared(inner) => of_datafusion(inner),
        DataFusionError::Collection(all) if !all.is_empty() => of_datafusion(&all[0]),
        DataFusionError::External(inner) => of_other(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => of_arrow(inner),
        DataFusionError::ResourcesExhausted(_) => {
            Error::TooLarge("the statement needs more memory than it may use: ask for fewer rows or groups".to_owned())
        }
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => Error::Invalid(message(error)),
        other => Error::Unavailable(message(other)),
    }
}

fn message(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let prefixes =
        ["Error during planning: ", "Schema error: ", "Execution error: ", "This feature is not implemented: "];
    let bare = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(&text);
    bare.to_owned()
}

fn of_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => of_other(inner.as_ref()),
        ArrowError::DivideByZero
        | ArrowError::CastError(_)
        | ArrowError::ComputeError(_)
        | ArrowError::ParseError(_)
        | ArrowError::InvalidArgumentError(_)
        | ArrowError::ArithmeticOverflow(_)
        | ArrowError::NotYetImplemented(_) => Error::Invalid(error.to_string()),
        other => Error::Unavailable(other.to_string()),
    }
}

fn of_other(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if let Some(own) = error.downcast_ref::<Error>() {
        return again(own);
    }
    if let Some(batch) = error.downcast_ref::<batch_layer::Error>() {
        return match batch {
            batch_layer::Error::Refused(reason) => Error::Invalid(reason.clone()),
            batch_layer::Error::NotFound(what) => Error::NotFound(what.clone()),
            batch_layer::Error::Corrupt { .. } => Error::Corrupt(batch.to_string()),
            other => Error::Unavailable(other.to_string()),
        };
    }
    match error.downcast_ref::<DataFusionError>() {
        Some(inner) => of_datafusion(inner),
        None => Error::Unavailable(error.to_string()),
    }
}

fn again(error: &Error) -> Error {
    match error {
        Error::Invalid(reason) => Error::Invalid(reason.clone()),
        Error::NotFound(what) => Error::NotFound(what.clone()),
        Error::TooLarge(reason) => Error::TooLarge(reason.clone()),
        Error::BelowConfidence(reason) => Error::BelowConfidence(reason.clone()),
        Error::Timeout(seconds) => Error::Timeout(*seconds),
        Error::Overloaded { reason, retry_after_s } => {
            Error::Overloaded { reason: reason.clone(), retry_after_s: *retry_after_s }
        }
        Error::Full(reason) => Error::Full(reason.clone()),
        Error::Corrupt(reason) => Error::Corrupt(reason.clone()),
        Error::Unavailable(reason) => Error::Unavailable(reason.clone()),
    }
}
