"""Result rows to tables, figures and a page. Runs no model; whether they support a finding, `study` decides."""
