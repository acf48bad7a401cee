"""Caption metrics, reports and the gallery."""
