//! Days as dates of the Gregorian calendar.

/// Year, month and day of a day since 1970-01-01. Years begin in March here, so that the leap day
/// is the last of its year; 400 of them have as many days each time.
pub fn date(days: u64) -> (u64, u64, u64) {
    const OF_400_YEARS: u64 = 146_097;
    // Days since 1 March 0000.
    let since = days.min(u64::from(u32::MAX)) + 719_468;
    let (cycle, of_cycle) = (since / OF_400_YEARS, since % OF_400_YEARS);
    let year_of_cycle = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}
