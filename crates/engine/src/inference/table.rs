//! Features that stay on their device: the encoder leaves them there, and there the head reads them.
//!
//! A [`FeatureTable`] is a ring of rows in the device's memory, one feature each. ONNX Runtime writes a batch of features
//! straight into it (its `IoBinding`), a graph of one node gathers the rows of windows out of it on the device, and the head
//! takes those where they lie. To the device go crops and the numbers of rows, from it come logits and, once for each crop,
//! its feature: whoever has lost the device, or comes when the ring has gone round, goes on with those. So nothing hangs on a
//! row being there, and nobody has to give one back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayViewD, Axis};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::value::{DynValue, Shape, Tensor, TensorRefMut};

use super::error::InferenceError;
use super::graph::{self, GraphFile, GraphInfo, Outputs};

/// Of one table: 800 windows of 40 features of 128 numbers.
const MOST_BYTES: usize = 16 << 20;

/// `table` [capacity, length], `rows` [N, T] -> `gathered` [N, T, length].
pub(super) fn gather_graph() -> std::io::Result<GraphFile> {
    GraphFile::built_in("gather.onnx (built in)", include_bytes!("gather.onnx"))
}

/// Which output of an encoder is its features.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeaturePort {
    pub output: String,
    /// Numbers in one feature.
    pub length: usize,
}

/// Where one feature lies, in the table that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    table: u64,
    /// Rows written before it.
    number: u64,
}

impl Row {
    /// The row `steps` behind this one, of the same batch.
    pub(super) fn behind(self, steps: usize) -> Self {
        Self { number: self.number + steps as u64, ..self }
    }
}

/// The features of one encoder, as many as there is room for: the newest.
pub(super) struct FeatureTable {
    /// No two tables of a process share one.
    id: u64,
    port: FeaturePort,
    memory: MemoryInfo<'static>,
    /// [capacity, length]
    rows: Tensor<f32>,
    capacity: u64,
    /// Number of the row that is written next.
    next: Mutex<u64>,
    gather: Mutex<Session>,
}

impl FeatureTable {
    /// In this memory of the device that runs `encoder` and `gather`, which is a session of the [`gather_graph`].
    ///
    /// # Errors
    /// If the device has no such memory, or not enough.
    pub fn new(
        port: FeaturePort,
        memory: AllocationDevice<'static>,
        encoder: &Session,
        gather: Session,
    ) -> Result<Self, ort::Error> {
        Self::with_capacity(MOST_BYTES / size_of::<f32>() / port.length, port, memory, encoder, gather)
    }

    fn with_capacity(
        capacity: usize,
        port: FeaturePort,
        memory: AllocationDevice<'static>,
        encoder: &Session,
        gather: Session,
    ) -> Result<Self, ort::Error> {
        static TABLES: AtomicU64 = AtomicU64::new(0);
        let memory = MemoryInfo::new(memory, 0, AllocatorType::Device, MemoryType::Default)?;
        let rows = Tensor::new(&Allocator::new(encoder, memory.clone())?, [capacity, port.length])?;
        Ok(Self {
            id: TABLES.fetch_add(1, Ordering::Relaxed),
            port,
            memory,
            rows,
            capacity: capacity as u64,
            next: Mutex::new(0),
            gather: Mutex::new(gather),
        })
    }

    /// Runs the encoder over `crops` and keeps their features.
    ///
    /// # Errors
    /// As [`graph::run`].
    pub fn encode<R>(
        &self,
        encoder: &mut Session,
        info: &GraphInfo,
        crops: ArrayViewD<f32>,
        read: impl FnOnce(&Outputs) -> R,
    ) -> Result<R, InferenceError> {
        let count = crops.len_of(Axis(0));
        let Some(first) = self.claim(count) else { return graph::run(encoder, info, crops, read) };
        let mut run = || {
            let mut binding = encoder.create_binding()?;
            // A tensor of its own: one that is only lent would be copied by way of another session.
            binding.bind_input(&info.input.name, &Tensor::from_array(crops.to_owned())?)?;
            for port in &info.outputs {
                match port.name == self.port.output {
                    true => binding.bind_output(&port.name, self.space(first, count)?)?,
                    false => binding.bind_output_to_device(&port.name, &MemoryInfo::default())?,
                }
            }
            let mut outputs = encoder.run_binding(&binding)?;
            let rows: Vec<_> = (0..count).map(|step| first.behind(step)).collect();
            let mut values = Vec::with_capacity(info.outputs.len());
            for port in &info.outputs {
                values.push(match port.name == self.port.output {
                    true => self.gather(&rows, &[count], &MemoryInfo::default())?,
                    false => outputs.remove(&port.name).expect("each output is bound"),
                });
            }
            Ok(values)
        };
        let values = run().map_err(|error| info.failed(&error))?;
        graph::look(info, |index| &values[index], Some(first), read)
    }

    /// Runs the head over windows whose rows it [holds](Self::holds), or over the request's input if it has lost them meanwhile.
    ///
    /// # Errors
    /// As [`graph::run`].
    pub fn judge<R>(
        &self,
        head: &mut Session,
        info: &GraphInfo,
        rows: &[Row],
        windows: ArrayViewD<f32>,
        read: impl FnOnce(&Outputs) -> R,
    ) -> Result<R, InferenceError> {
        let mut run = || {
            let gathered = self.gather(rows, &windows.shape()[..2], &self.memory)?;
            if !self.holds(rows) {
                return Ok(None);
            }
            let mut binding = head.create_binding()?;
            binding.bind_input(&info.input.name, &gathered)?;
            for port in &info.outputs {
                binding.bind_output_to_device(&port.name, &MemoryInfo::default())?;
            }
            let mut outputs = head.run_binding(&binding)?;
            let names = info.outputs.iter().map(|port| &port.name);
            Ok(Some(names.map(|name| outputs.remove(name).expect("each output is bound")).collect::<Vec<_>>()))
        };
        match run().map_err(|error| info.failed(&error))? {
            Some(values) => graph::look(info, |index| &values[index], None, read),
            None => graph::run(head, info, windows, read),
        }
    }

    /// Room for so many rows one behind the other, over the oldest. `None` if the table is smaller than that.
    fn claim(&self, count: usize) -> Option<Row> {
        let count = count as u64;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if count > self.capacity {
            return None;
        }
        let slot = *next % self.capacity;
        if slot + count > self.capacity {
            *next += self.capacity - slot;
        }
        let first = Row { table: self.id, number: *next };
        *next += count;
        Some(first)
    }

    /// Whether nothing has been written over these rows yet.
    pub fn holds(&self, rows: &[Row]) -> bool {
        let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().all(|row| row.table == self.id && row.number + self.capacity >= next)
    }

    /// The memory of claimed rows, [count, length].
    fn space(&self, first: Row, count: usize) -> Result<TensorRefMut<'_, f32>, ort::Error> {
        let shape = Shape::new([count as i64, self.port.length as i64]);
        let offset = (first.number % self.capacity) as usize * self.port.length;
        // Never looked at from here: it is the device's.
        let begin = self.rows.data_ptr().cast_mut().cast::<f32>();
        // SAFETY: `claim` keeps the rows within the table, which outlives what is returned. Only ONNX Runtime writes there. It may
        // write while it gathers older rows out of the same memory, but nobody uses what came of that (see `judge`).
        unsafe { TensorRefMut::from_raw(self.memory.clone(), begin.add(offset).cast(), shape) }
    }

    /// These rows as [shape.., length], in `memory`.
    fn gather(&self, rows: &[Row], shape: &[usize], memory: &MemoryInfo) -> Result<DynValue, ort::Error> {
        let slots: Vec<_> = rows.iter().map(|row| (row.number % self.capacity) as i64).collect();
        let mut gather = self.gather.lock().unwrap_or_else(PoisonError::into_inner);
        let mut binding = gather.create_binding()?;
        binding.bind_input("table", &self.rows)?;
        binding.bind_input("rows", &Tensor::from_array((shape.to_vec(), slots))?)?;
        binding.bind_output_to_device("gathered", memory)?;
        let mut outputs = gather.run_binding(&binding)?;
        Ok(outputs.remove("gathered").expect("it is bound"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use ndarray::ArrayD;

    use super::super::device::Device;
    use super::super::runtime;
    use super::*;

    fn data(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(file)
    }

    /// Encoder, head and a table between them, on the processor's own memory, which is the only one here.
    struct Pair {
        encoder: (Session, GraphInfo),
        head: (Session, GraphInfo),
        table: FeatureTable,
    }

    impl Pair {
        fn new(capacity: usize) -> Self {
            runtime::get().unwrap();
            let open = |file: &GraphFile| graph::open(file, Device::Cpu, 1).unwrap();
            let load = |name: &str| {
                let session = open(&GraphFile::read(&data(name)).unwrap());
                let info = graph::describe(&data(name), &session).unwrap();
                (session, info)
            };
            let (encoder, head) = (load("encoder.onnx"), load("head.onnx"));
            let port = FeaturePort { output: "features".into(), length: 3 };
            let gather = open(&gather_graph().unwrap());
            let table = FeatureTable::with_capacity(capacity, port, AllocationDevice::CPU, &encoder.0, gather).unwrap();
            Self { encoder, head, table }
        }

        /// Crops of these values: what comes out on the host, and where it stays.
        fn encode(&mut self, values: &[f32]) -> (Vec<ArrayD<f32>>, Option<Row>) {
            let crops = ArrayD::from_shape_fn(vec![values.len(), 3, 16, 16], |at| values[at[0]] + at[1] as f32);
            let (session, info) = &mut self.encoder;
            let read = |outputs: &Outputs| (outputs.iter().map(|output| output.to_owned()).collect(), outputs.row);
            self.table.encode(session, info, crops.view(), read).unwrap()
        }

        /// Logits of one window, of which the host has nothing but zeros.
        fn judge(&mut self, rows: &[Row]) -> Vec<f32> {
            let zeros = ArrayD::zeros(vec![1, rows.len(), 3]);
            let (session, info) = &mut self.head;
            let read = |outputs: &Outputs| outputs[0].iter().copied().collect();
            self.table.judge(session, info, rows, zeros.view(), read).unwrap()
        }
    }

    #[test]
    fn the_host_gets_the_features_and_all_other_outputs_too() {
        let mut pair = Pair::new(10);
        let (values, row) = pair.encode(&[10.0, 20.0]);
        assert_eq!(row.unwrap().number, 0);
        assert_eq!(values[0], ndarray::array![[10.0, 11.0, 12.0], [20.0, 21.0, 22.0]].into_dyn());
        assert_eq!(values[1], ndarray::array![[11.0, 10.0], [21.0, 20.0]].into_dyn());
    }

    #[test]
    fn the_head_reads_what_stayed_and_nothing_from_the_host() {
        let mut pair = Pair::new(10);
        let first = pair.encode(&[10.0, 20.0, 30.0]).1.unwrap();
        let second = pair.encode(&[60.0]).1.unwrap();
        // The window's mean (green, red); not in the order in which they were written.
        let mean = pair.judge(&[second, first, first.behind(2)]);
        assert_eq!(mean.len(), 2);
        assert!((mean[0] - 103.0 / 3.0).abs() < 1e-5 && (mean[1] - 100.0 / 3.0).abs() < 1e-5, "{mean:?}");
    }

    #[test]
    fn rows_that_were_written_over_are_read_from_the_host() {
        let mut pair = Pair::new(4);
        let first = pair.encode(&[10.0, 20.0]).1.unwrap();
        assert!(pair.table.holds(&[first, first.behind(1)]));
        pair.encode(&[30.0, 40.0]);
        assert!(pair.table.holds(&[first]));
        pair.encode(&[50.0]);
        assert!(!pair.table.holds(&[first]));
        assert!(pair.table.holds(&[first.behind(1)]));
        assert_eq!(pair.judge(&[first, first.behind(1)]), [0.0, 0.0], "what the host has");
    }

    #[test]
    fn a_batch_lies_in_one_piece() {
        let mut pair = Pair::new(5);
        pair.encode(&[1.0, 2.0, 3.0]);
        // Two rows are left before the end.
        let (values, row) = pair.encode(&[10.0, 20.0, 30.0]);
        let row = row.unwrap();
        assert_eq!((row.number, row.number % 5), (5, 0));
        assert_eq!(values[0].len(), 9);
        assert_eq!(pair.judge(&[row.behind(2)]), [31.0, 30.0]);
    }

    #[test]
    fn a_batch_larger_than_the_table_stays_nowhere() {
        let mut pair = Pair::new(2);
        let (values, row) = pair.encode(&[1.0, 2.0, 3.0]);
        assert_eq!(values[0], ndarray::array![[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [3.0, 4.0, 5.0]].into_dyn());
        assert_eq!(row, None);
    }

    #[test]
    fn no_table_holds_the_rows_of_another() {
        let mut pairs = [Pair::new(4), Pair::new(4)];
        let [first, second] = pairs.each_mut().map(|pair| pair.encode(&[1.0]).1.unwrap());
        assert_eq!(first.number, second.number);
        assert!(pairs[0].table.holds(&[first]) && !pairs[0].table.holds(&[second]));
    }
}
