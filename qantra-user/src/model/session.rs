//! Enters: an ONNX file's bytes and rows of numbers. Leaves: the model's outputs. The only file that talks to ONNX
//! Runtime; it must never download anything, use more than one thread, or run on a proxy thread.

use std::path::Path;

use ort::{
    environment::Environment,
    session::{Session, SessionInputValue, builder::GraphOptimizationLevel},
    value::{TensorElementType, TensorRef, ValueType},
};
use parking_lot::Mutex;

use super::{
    error::{ModelError, one_line},
    onnx::{self, OnnxLimits},
};

/// ONNX Runtime, loaded into the process. Loading it a second time gives the first one: a library cannot be unloaded.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

/// From 1.29 on ONNX Runtime keeps a database in the user's home and reports to its maker from the moment it is loaded,
/// unless this variable is set; what its interface offers comes too late. Whoever loads it has to see to that before.
pub const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// The process has room for one environment, so the first one is kept for good.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads ONNX Runtime from its shared library.
    ///
    /// # Errors
    /// [`ModelError::Runtime`] when the file is missing, is no ONNX Runtime, or is older than 1.24.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let mut loaded = LOADED.lock();
        if let Some(runtime) = &*loaded {
            return Ok(runtime.clone());
        }
        let failed = |reason| ModelError::Runtime { path: path.to_owned(), reason };
        if !path.is_file() {
            return Err(failed("no such file".into()));
        }
        if std::env::var_os(NO_TELEMETRY).is_none_or(|value| value != "1") {
            return Err(failed(format!("is not loaded, since it would report to its maker; set {NO_TELEMETRY}=1")));
        }
        let builder = ort::init_from(path).map_err(|error| failed(one_line(&error)))?;
        let environment =
            builder.with_name("qantra").with_telemetry(false).build().map_err(|error| failed(one_line(&error)))?;
        let runtime = Self { environment };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// Makes a session: one thread, all graph optimisations, no spinning. No bytes get here unchecked.
    fn session(&self, model: &str, bytes: &[u8]) -> Result<Session, ModelError> {
        onnx::check(bytes, &OnnxLimits::DAEMON)
            .map_err(|refusal| ModelError::Refused { model: model.to_owned(), refusal })?;
        let onnx =
            |error: &dyn std::fmt::Display| ModelError::Onnx { model: model.to_owned(), reason: one_line(error) };
        let builder = Session::builder(&self.environment).map_err(|e| onnx(&e))?;
        let builder = builder.with_optimization_level(GraphOptimizationLevel::Level3).map_err(|e| onnx(&e))?;
        let builder = builder.with_intra_threads(1).map_err(|e| onnx(&e))?;
        let builder = builder.with_inter_threads(1).map_err(|e| onnx(&e))?;
        let mut builder = builder.with_intra_op_spinning(false).map_err(|e| onnx(&e))?;
        builder.commit_from_memory(bytes).map_err(|e| onnx(&e))
    }
}

/// A model from rows of `f32` to outputs of `f32`: the isolation forest and the source classifier.
pub struct MatrixSession {
    session: Session,
    model: String,
    columns: usize,
    outputs: Vec<usize>,
}

impl std::fmt::Debug for MatrixSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MatrixSession")
            .field("model", &self.model)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl MatrixSession {
    /// Loads a model with one input `f32 [n, columns]`. Every `f32` output of rank 1 or 2 is offered by
    /// [`run`](Self::run), in the model's order; outputs of other types (labels, maps) are left out.
    ///
    /// # Errors
    /// [`ModelError::Onnx`] when ONNX Runtime refuses the bytes, [`ModelError::Shape`] when the input is another.
    pub fn new(runtime: &Runtime, model: &str, bytes: &[u8], columns: usize) -> Result<Self, ModelError> {
        let session = runtime.session(model, bytes)?;
        let shape = |reason: String| ModelError::Shape { model: model.to_owned(), reason };
        let [input] = session.inputs() else {
            return Err(shape(format!("{} inputs, expected 1", session.inputs().len())));
        };
        match input.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape: dims, .. }
                if dims.len() == 2 && (dims[1] == columns as i64 || dims[1] == -1) => {}
            other => return Err(shape(format!("input is {other}, expected f32 [n, {columns}]"))),
        }
        let outputs: Vec<usize> = session
            .outputs()
            .iter()
            .enumerate()
            .filter(|(_, outlet)| is_f32(outlet.dtype()))
            .map(|(index, _)| index)
            .collect();
        if outputs.is_empty() {
            return Err(shape("no f32 output".into()));
        }
        Ok(Self { session, model: model.to_owned(), columns, outputs })
    }

    /// Runs `rows.len() / columns` rows at once. Each element of the result is one output, row after row.
    ///
    /// # Errors
    /// [`ModelError::Shape`] when `rows` is no whole number of rows, [`ModelError::Onnx`] when the run fails.
    pub fn run(&mut self, rows: &[f32]) -> Result<Vec<Vec<f32>>, ModelError> {
        let Self { session, model, columns, outputs } = self;
        let count = rows.len() / *columns;
        if count * *columns != rows.len() {
            let reason = format!("{} numbers are no whole rows of {columns}", rows.len());
            return Err(ModelError::Shape { model: model.clone(), reason });
        }
        if count == 0 {
            return Ok(vec![Vec::new(); outputs.len()]);
        }
        let onnx = |error: ort::Error| ModelError::Onnx { model: model.clone(), reason: one_line(&error) };
        let input = TensorRef::from_array_view(([count, *columns], rows)).map_err(onnx)?;
        let result = session.run([SessionInputValue::from(input)]).map_err(onnx)?;
        outputs
            .iter()
            .map(|index| result[*index].try_extract_tensor::<f32>().map(|(_, data)| data.to_vec()).map_err(onnx))
            .collect()
    }
}

/// A model over lists of feature ids: `i32 [n, width]`, short lists filled with the padding id, to `f32 [n, outputs]`.
pub struct IdSession {
    session: Session,
    model: String,
    outputs: usize,
}

impl std::fmt::Debug for IdSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdSession").field("model", &self.model).field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

impl IdSession {
    /// Loads a model with one input `i32 [n, width]` and one output `f32 [n, outputs]`.
    ///
    /// # Errors
    /// As [`MatrixSession::new`].
    pub fn new(runtime: &Runtime, model: &str, bytes: &[u8], outputs: usize) -> Result<Self, ModelError> {
        let session = runtime.session(model, bytes)?;
        let shape = |reason: String| ModelError::Shape { model: model.to_owned(), reason };
        let ([input], [output]) = (session.inputs(), session.outputs()) else {
            return Err(shape("expected one input and one output".into()));
        };
        match input.dtype() {
            ValueType::Tensor { ty: TensorElementType::Int32, shape: dims, .. } if dims.len() == 2 => {}
            other => return Err(shape(format!("input is {other}, expected i32 [n, width]"))),
        }
        match output.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape: dims, .. }
                if dims.len() == 2 && dims[1] == outputs as i64 => {}
            other => return Err(shape(format!("output is {other}, expected f32 [n, {outputs}]"))),
        }
        Ok(Self { session, model: model.to_owned(), outputs })
    }

    /// Runs `ids.len() / width` lists at once; the result holds `outputs` numbers for each.
    ///
    /// # Errors
    /// [`ModelError::Shape`] when `ids` is no whole number of lists, [`ModelError::Onnx`] when the run fails.
    pub fn run(&mut self, ids: &[i32], width: usize) -> Result<Vec<f32>, ModelError> {
        let Self { session, model, outputs } = self;
        let shape = |reason: String| ModelError::Shape { model: model.clone(), reason };
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let count = ids.len().checked_div(width).unwrap_or(0);
        if count * width != ids.len() {
            return Err(shape(format!("{} ids are no whole lists of {width}", ids.len())));
        }
        let onnx = |error: ort::Error| ModelError::Onnx { model: model.clone(), reason: one_line(&error) };
        let input = TensorRef::from_array_view(([count, width], ids)).map_err(onnx)?;
        let result = session.run([SessionInputValue::from(input)]).map_err(onnx)?;
        let (_, data) = result[0].try_extract_tensor::<f32>().map_err(onnx)?;
        if data.len() != count * *outputs {
            return Err(shape(format!("{} numbers came out for {count} lists", data.len())));
        }
        Ok(data.to_vec())
    }
}

fn is_f32(kind: &ValueType) -> bool {
    matches!(kind, ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } if matches!(shape.len(), 1 | 2))
}
