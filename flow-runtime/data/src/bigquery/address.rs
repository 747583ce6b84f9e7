//! `bigquery://PROJECT/DATASET?location=EU`

use crate::redact::redact;
use crate::{Error, Result};

/// What stands in a URL.
#[derive(Debug, PartialEq)]
pub(crate) struct Address<'a> {
    /// Empty: that of the credentials.
    pub(crate) project: &'a str,
    /// Empty: tables name theirs.
    pub(crate) dataset: &'a str,
    pub(crate) location: Option<&'a str>,
}

impl<'a> Address<'a> {
    pub(crate) fn parse(url: &'a str) -> Result<Self> {
        let invalid = || {
            let shown = redact(url);
            let form = "use bigquery://PROJECT/DATASET, with ?location=EU if it is not in US";
            Error::Invalid(format!("`{shown}` names no project of BigQuery: {form}"))
        };
        let rest = url.strip_prefix("bigquery://").ok_or_else(invalid)?;
        let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
        let location = query.map(|q| q.strip_prefix("location=").filter(|l| !l.contains('&')).ok_or_else(invalid));
        let (project, dataset) = place.split_once('/').unwrap_or((place, ""));
        let dataset = dataset.trim_end_matches('/');
        if dataset.contains(['/', '.', '`']) || project.contains(['`', '@']) {
            return Err(invalid());
        }
        Ok(Self { project, dataset, location: location.transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_project_and_a_dataset_or_is_refused() {
        let parts = |url| Address::parse(url).map(|a| (a.project, a.dataset, a.location));
        assert_eq!(parts("bigquery://p/d").unwrap(), ("p", "d", None));
        assert_eq!(parts("bigquery:///d/").unwrap(), ("", "d", None));
        assert_eq!(parts("bigquery://p?location=EU").unwrap(), ("p", "", Some("EU")));
        for url in
            ["bigquery:p/d", "bigquery://p/d/t", "bigquery://p/d.t", "bigquery://p/d?place=EU", "bigquery://me@p/d"]
        {
            assert!(parts(url).unwrap_err().to_string().contains("bigquery://PROJECT/DATASET"), "{url}");
        }
    }
}
