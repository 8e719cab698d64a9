//! `tag(tags, name)`: the value of one tag of a series, from the column `tags`.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use serde_json::{Map, Value};

/// The function.
pub(super) fn udf() -> ScalarUDF {
    let types = vec![DataType::Utf8View, DataType::Utf8View];
    ScalarUDF::new_from_impl(Tag { signature: Signature::exact(types, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Tag {
    signature: Signature,
}

impl ScalarUDFImpl for Tag {
    fn name(&self) -> &'static str {
        "tag"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [tags, names] = arrays.as_slice() else { return exec_err!("tag takes the column tags and a name") };
        let values = values(tags.as_string_view(), names.as_string_view())?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

/// The value of each row; null where there is no such tag.
fn values(tags: &StringViewArray, names: &StringViewArray) -> DfResult<StringViewArray> {
    let mut builder = StringViewBuilder::with_capacity(tags.len());
    // Rows come in runs of one series: the object is read once for each run.
    let mut read: Option<(&str, Map<String, Value>)> = None;
    for row in 0..tags.len() {
        if tags.is_null(row) || names.is_null(row) {
            builder.append_null();
            continue;
        }
        let text = tags.value(row);
        if read.as_ref().is_none_or(|(known, _)| *known != text) {
            read = Some((text, object(text)?));
        }
        let value = read.as_ref().and_then(|(_, map)| map.get(names.value(row)));
        match value {
            Some(Value::String(value)) => builder.append_value(value),
            Some(other) => builder.append_value(other.to_string()),
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

fn object(text: &str) -> DfResult<Map<String, Value>> {
    let reason =
        |_| DataFusionError::Execution(format!("tag: {:?} is not a JSON object of tags", schemas::time::clip(text)));
    serde_json::from_str(text).map_err(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_by_name() {
        let tags = StringViewArray::from(vec![Some(r#"{"line":"A","n":"1"}"#), Some("{}"), None]);
        let names = StringViewArray::from(vec!["line"; 3]);
        let found = values(&tags, &names).expect("objects");
        assert_eq!(found.iter().collect::<Vec<_>>(), [Some("A"), None, None]);
        assert!(values(&StringViewArray::from(vec!["x"]), &StringViewArray::from(vec!["y"])).is_err());
    }
}
