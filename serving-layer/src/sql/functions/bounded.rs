//! Functions that grow a text, bounded before they allocate.
//!
//! DataFusion's memory pool does not see what scalar functions allocate: `repeat('a', 1e9)` takes four gigabytes, and a
//! dozen nested queries that each double a text take any number of them. So each such function first computes how long
//! its results can become from the lengths of its arguments, and refuses above a limit for one batch of rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::compute::kernels::concat_elements::concat_elements_utf8_many;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{DFSchema, exec_err};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Most bytes of text that one call may make for one batch of rows.
const BYTES_MAX: u64 = 64 << 20;
/// Most bytes that `to_char` makes of one byte of its format: `%c` becomes a whole date and time.
const FORMAT_GROWTH: u64 = 32;

/// The same function, refusing results that are too long.
pub(super) fn bounded(inner: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Bounded { inner }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
}

// Not handed on: `simplify`, which would put the unbounded function in place of this one.
impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        check(self.name(), &args.args, args.number_rows)?;
        self.inner.invoke_with_args(args)
    }
}

/// Refuses a call whose results can become too long in all.
fn check(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<()> {
    let args: Vec<Lengths> = args.iter().map(Lengths::of).collect::<DfResult<_>>()?;
    let rows = if args.iter().all(|a| matches!(a, Lengths::One(_))) { 1 } else { rows };
    let mut total: u64 = 0;
    for row in 0..rows {
        total = total.saturating_add(result_bytes(name, &args, row));
    }
    if total > BYTES_MAX {
        return exec_err!("the results of {name} are too long: more than {} MiB at a time", BYTES_MAX >> 20);
    }
    Ok(())
}

/// How long one result can become, at most.
fn result_bytes(name: &str, args: &[Lengths], row: usize) -> u64 {
    let arg = |i: usize| args.get(i).map_or(0, |a| a.at(row));
    match name {
        "repeat" => arg(0).saturating_mul(arg(1)),
        // The length is in characters of up to four bytes.
        "lpad" | "rpad" => arg(1).saturating_mul(4),
        // Each byte can be a match; a replacement can tell the whole match again for each of its bytes.
        "replace" => (arg(0) + 1).saturating_mul(arg(2) + 1),
        "regexp_replace" => (arg(0) + 1).saturating_mul(arg(2) + 1),
        "to_char" => arg(1).saturating_mul(FORMAT_GROWTH),
        "concat_ws" => (1..args.len()).fold(0, |sum, i| sum.saturating_add(arg(i)).saturating_add(arg(0))),
        _ => (0..args.len()).fold(0, |sum, i| sum.saturating_add(arg(i))),
    }
}

/// Of each row of an argument: the bytes of a text, the value of a number (0 of a negative one).
enum Lengths {
    One(u64),
    Many(Vec<u64>),
}

impl Lengths {
    fn of(value: &ColumnarValue) -> DfResult<Self> {
        Ok(match value {
            ColumnarValue::Scalar(scalar) => Self::One(lengths(&scalar.to_array()?)?.first().copied().unwrap_or(0)),
            ColumnarValue::Array(array) => Self::Many(lengths(array)?),
        })
    }

    fn at(&self, row: usize) -> u64 {
        match self {
            Self::One(length) => *length,
            Self::Many(lengths) => lengths.get(row).copied().unwrap_or(0),
        }
    }
}

fn lengths(array: &ArrayRef) -> DfResult<Vec<u64>> {
    let text = |length: Option<usize>| length.unwrap_or(0) as u64;
    Ok(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(|v| text(v.map(str::len))).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(|v| text(v.map(str::len))).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(|v| text(v.map(str::len))).collect(),
        kind if kind.is_integer() => {
            let numbers = cast(array, &DataType::Int64)?;
            numbers.as_primitive::<Int64Type>().iter().map(|v| v.unwrap_or(0).try_into().unwrap_or(0)).collect()
        }
        DataType::Null => vec![0; array.len()],
        // Anything else is told in a few bytes; what is not is as long as it is in memory.
        _ => vec![64 + (array.get_array_memory_size() / array.len().max(1)) as u64; array.len()],
    })
}

/// Makes `a || b` a bounded function, too: one for a whole chain, as planning takes time quadratic in the depth.
#[derive(Debug)]
pub(super) struct ConcatPlanner;

impl ExprPlanner for ConcatPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _: &DFSchema) -> DfResult<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        Ok(PlannerResult::Planned(match expr.left {
            Expr::ScalarFunction(mut chain) if chain.func.inner().is::<Concat>() => {
                chain.args.push(expr.right);
                Expr::ScalarFunction(chain)
            }
            left => ScalarUDF::new_from_impl(Concat::default()).call(vec![left, expr.right]),
        }))
    }
}

/// `a || b || ...`: null where one of them is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Concat {
    signature: Signature,
}

impl Default for Concat {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Concat {
    fn name(&self) -> &'static str {
        "||"
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        let names: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(names.join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let nested = types.iter().find(|t| t.is_nested() || t.is_binary());
        match nested {
            Some(kind) => Err(DataFusionError::Plan(format!("|| joins texts, not {kind}"))),
            None => Ok(vec![DataType::Utf8; types.len()]),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        check(self.name(), &args.args, args.number_rows)?;
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts: Vec<_> = arrays.iter().map(|array| array.as_string::<i32>()).collect();
        let joined = concat_elements_utf8_many(&texts)?;
        if scalar {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&joined, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(joined)))
    }
}
