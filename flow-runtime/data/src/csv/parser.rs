//! Text to typed columns.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polars::prelude::{self as pl, CsvReadOptions, DataFrame, IntoColumn, NamedFrom, PolarsResult, SerReader, Series};

use super::batches::Batch;
use super::chunks::Chunk;
use super::header::Header;
use super::records;
use crate::error::{Error, shorten};
use crate::schema::Type;
use crate::{Result, parse};

/// Turns the chunks of one file into batches.
pub(super) struct Parser {
    path: PathBuf,
    header: Header,
    /// What polars is asked to read: days, moments and truth as text, which is several times faster.
    as_read: Arc<pl::Schema>,
    pub(super) as_text: Arc<pl::Schema>,
}

impl Parser {
    pub(super) fn new(path: &Path, header: Header) -> Self {
        let schema = |read_as: fn(Type) -> pl::DataType| {
            let fields = header.columns.iter().map(|c| pl::Field::new(c.name.as_str().into(), read_as(c.kind)));
            Arc::new(pl::Schema::from_iter(fields))
        };
        let as_read = schema(|kind| match kind {
            Type::Int | Type::Float => kind.polars(),
            Type::Bool | Type::Date | Type::Timestamp | Type::Text => pl::DataType::String,
        });
        let as_text = schema(|_| pl::DataType::String);
        Self { path: path.to_owned(), header, as_read, as_text }
    }

    pub(super) fn parse(&self, chunk: &Chunk) -> Result<Batch> {
        let frame = match self.read(&chunk.text, &self.as_read) {
            Ok(frame) => frame,
            Err(error) => return Err(self.find_fault(chunk, &error)),
        };
        if frame.height() as u64 != chunk.rows {
            let message =
                format!("{} records from row {} on were read as {} rows", chunk.rows, chunk.first_row, frame.height());
            return Err(Error::format(&self.path, message));
        }
        let columns = self.header.order.iter().map(|&at| {
            let series = frame.columns()[at].as_materialized_series();
            let kind = self.header.columns[at].kind;
            Ok(match kind {
                Type::Int | Type::Float | Type::Text => frame.columns()[at].clone(),
                Type::Bool => self
                    .convert(series, kind, chunk, parse::boolean, |name, v: Vec<Option<bool>>| Series::new(name, v))?,
                Type::Date => self.convert(series, kind, chunk, parse::date, |name, v: Vec<Option<i32>>| {
                    Series::new(name, v).into_date()
                })?,
                Type::Timestamp => {
                    self.convert(series, kind, chunk, parse::timestamp, |name, v: Vec<Option<i64>>| {
                        Series::new(name, v).into_datetime(pl::TimeUnit::Microseconds, None)
                    })?
                }
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let frame = DataFrame::new(frame.height(), columns).map_err(|e| Error::format(&self.path, e.to_string()))?;
        Ok(Batch { frame, position: chunk.position })
    }

    fn convert<T>(
        &self,
        series: &Series,
        kind: Type,
        chunk: &Chunk,
        parse: fn(&str) -> Option<T>,
        build: fn(pl::PlSmallStr, Vec<Option<T>>) -> Series,
    ) -> Result<pl::Column> {
        let texts = series.str().map_err(|e| Error::format(&self.path, e.to_string()))?;
        let mut values = Vec::with_capacity(texts.len());
        for (n, text) in texts.iter().enumerate() {
            values.push(match text {
                None => None,
                Some(text) => match parse(text) {
                    Some(value) => Some(value),
                    None if text.trim().is_empty() => None,
                    None => return Err(self.fault(series.name(), kind, chunk, n, text)),
                },
            });
        }
        Ok(build(series.name().clone(), values).into_column())
    }

    fn fault(&self, column: &str, kind: Type, chunk: &Chunk, at: usize, text: &str) -> Error {
        Error::Value {
            file: self.path.clone(),
            row: chunk.first_row + at as u64,
            column: column.to_owned(),
            text: shorten(text),
            wanted: kind.wanted(),
        }
    }

    /// Reads the chunk again as text to find the value that could not be read.
    fn find_fault(&self, chunk: &Chunk, error: &pl::PolarsError) -> Error {
        if let Some(wrong) = records::find_wrong(&chunk.text, self.header.columns.len()) {
            return wrong.error(&self.path, chunk.first_row, self.header.columns.len());
        }
        if let Ok(frame) = self.read(&chunk.text, &self.as_text) {
            for (column, stated) in frame.columns().iter().zip(&self.header.columns) {
                let holds = match stated.kind {
                    Type::Int => |text: &str| text.parse::<i64>().is_ok(),
                    Type::Float => |text: &str| text.parse::<f64>().is_ok(),
                    Type::Bool | Type::Date | Type::Timestamp | Type::Text => continue,
                };
                let Ok(texts) = column.as_materialized_series().str() else {
                    continue;
                };
                for (n, text) in texts.iter().enumerate() {
                    if let Some(text) = text.filter(|text| !text.trim().is_empty() && !holds(text.trim_start())) {
                        return self.fault(&stated.name, stated.kind, chunk, n, text);
                    }
                }
            }
        }
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        Error::format(
            &self.path,
            format!("between row {} and row {}: {first}", chunk.first_row, chunk.first_row + chunk.rows),
        )
    }

    fn read(&self, text: &[u8], schema: &Arc<pl::Schema>) -> PolarsResult<DataFrame> {
        let nulls: Vec<pl::PlSmallStr> = self.header.nulls.iter().map(|text| text.as_str().into()).collect();
        let nulls = (!nulls.is_empty()).then_some(pl::NullValues::AllColumns(nulls));
        CsvReadOptions::default()
            .with_has_header(false)
            .with_schema(Some(schema.clone()))
            .with_raise_if_empty(false)
            .with_rechunk(true)
            .map_parse_options(|options| options.with_null_values(nulls.clone()))
            .into_reader_with_file_handle(Cursor::new(text))
            .finish()
    }
}
