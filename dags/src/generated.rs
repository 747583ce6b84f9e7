//! Trips that nobody made: CSV of the shape of `yellow_tripdata_2021-01.csv` of New York's Taxi and Limousine Commission.
//!
//! What is like the real file: 18 columns, amounts without needless zeros, `.20` for a distance below one, and the last
//! 7.18 % of the rows (98,352 of the real ones) have no vendor, passenger count, rate code, flag and payment type. Types that
//! are guessed from the first rows therefore fail late.

use crate::month::Month;
use std::fmt::Write as _;
use std::io::Write;

const HEADER: &str = "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,\
store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,\
improvement_surcharge,total_amount,congestion_surcharge\n";
/// Rows of the real file of January 2021.
pub const REAL_ROWS: u64 = 1_369_765;
/// Those of them without vendor.
const REAL_BLANK_ROWS: u64 = 98_352;

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in so many of a thousand cases.
    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// Small numbers often, large ones seldom: a product of uniform ones, in whole numbers so that no machine rounds otherwise.
    fn skewed(&mut self, end: u64) -> u64 {
        let (a, b, c) = (self.below(end), self.below(1_000), self.below(1_000));
        a * b / 1_000 * c / 1_000
    }
}

/// Cents as the real file writes amounts: `8`, `2.5`, `-0.3`.
fn amount(out: &mut String, cents: i64) {
    let (sign, cents) = (if cents < 0 { "-" } else { "" }, cents.unsigned_abs());
    let text = format!("{sign}{}.{:02}", cents / 100, cents % 100);
    out.push_str(text.trim_end_matches('0').trim_end_matches('.'));
    out.push(',');
}

/// A moment of a month, or of the first hours of the next.
fn moment(out: &mut String, month: Month, second: u64) {
    let (day, of_day) = (second / 86_400, second % 86_400);
    let (month, day) = if day < month.days() { (month, day + 1) } else { (month.next(), day + 1 - month.days()) };
    let _ = write!(out, "{month}-{day:02} {:02}:{:02}:{:02},", of_day / 3_600, of_day / 60 % 60, of_day % 60);
}

fn row(out: &mut String, random: &mut Random, month: Month, number: u64, first_blank: u64) {
    let month_seconds = month.days() * 86_400;
    let blank = number >= first_blank;
    let mut picked_up = if blank {
        random.below(month_seconds)
    } else {
        month_seconds * number / first_blank.max(1) + random.below(600)
    };
    let distance = random.skewed(2_400) + if random.chance(20) { 0 } else { 20 };
    let mut duration = 60 + distance * (22 + random.below(20)) / 10;
    let mut fare = 250 + 50 * (distance * (45 + random.below(20)) / 1_000) as i64;
    let mut extra = [0, 0, 50, 100, 250, 300, 350][random.below(7) as usize];
    let congestion = if random.chance(120) { 0 } else { 250 };
    let tolls = if random.chance(30) { 612 } else { 0 };
    let paid_by = if random.chance(730) {
        1
    } else if random.chance(960) {
        2
    } else {
        3 + random.below(2)
    };
    let mut tip = if paid_by == 1 {
        (fare + extra + congestion + 80) * [0, 10, 15, 20, 25][random.below(5) as usize] / 100
    } else {
        0
    };
    if blank {
        picked_up -= picked_up % 60;
        duration -= duration % 60;
        fare = 800 + random.below(5_200) as i64;
        extra = 0;
        tip = if random.chance(500) { 275 } else { 0 };
    }
    let sign = if !blank && paid_by >= 3 && random.chance(500) { -1 } else { 1 };

    if !blank {
        out.push(if random.chance(680) { '2' } else { '1' });
    }
    out.push(',');
    moment(out, month, picked_up);
    moment(out, month, picked_up + duration);
    if !blank {
        let passengers = match random.below(100) {
            0..74 => 1,
            74..87 => 2,
            87..89 => 0,
            _ => 3 + random.below(4),
        };
        let _ = write!(out, "{passengers}");
    }
    out.push(',');
    let whole = if distance >= 100 { (distance / 100).to_string() } else { String::new() };
    let _ = write!(out, "{whole}.{:02},", distance % 100);
    if blank {
        out.push_str(",,");
    } else {
        let rate = if random.chance(980) {
            1
        } else if random.chance(990) {
            [2, 5, 3, 4, 5][random.below(5) as usize]
        } else {
            99
        };
        let flag = if random.chance(985) { 'N' } else { 'Y' };
        let _ = write!(out, "{rate},{flag},");
    }
    // Two halves make the middle numbers likelier, as Manhattan's zones are.
    let _ = write!(out, "{},{},", 1 + random.below(133) + random.below(133), 1 + random.below(133) + random.below(133));
    if !blank {
        let _ = write!(out, "{paid_by}");
    }
    out.push(',');
    let total = fare + extra + 50 + tip + tolls + 30 + congestion;
    for cents in [sign * fare, sign * extra, sign * 50, tip, tolls, sign * 30, sign * total, sign * congestion] {
        amount(out, cents);
    }
    out.pop();
    out.push('\n');
}

/// Writes so many trips of a month. The same arguments make the same rows on every machine.
///
/// # Errors
/// If they cannot be written.
pub fn write(out: &mut dyn Write, month: Month, rows: u64, seed: u64) -> std::io::Result<()> {
    let first_blank = rows - (rows * REAL_BLANK_ROWS + REAL_ROWS / 2) / REAL_ROWS;
    let mut random = Random(seed);
    let mut text = String::from(HEADER);
    for number in 0..rows {
        row(&mut text, &mut random, month, number, first_blank);
        if text.len() > 1 << 20 {
            out.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    out.write_all(text.as_bytes())
}
