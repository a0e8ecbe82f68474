"""RMSE and R2 of each cell, against scikit-learn's."""

from __future__ import annotations

import numpy as np
from forecast_examples import dataset, network
from sklearn.metrics import mean_squared_error, r2_score

from gentraffic.forecasting.data import split
from gentraffic.forecasting.score import naive, score_beside_naive
from gentraffic.reports.forecast_figures import cell_fit, fit_maps


def test_maps_of_rmse_and_r2_are_those_of_each_cell() -> None:
    part = split(network(rows=4, cols=4))[2]
    scored = score_beside_naive(naive("last", part), part, 2)
    rmse, explained = cell_fit(scored, "last", 0)
    assert len(rmse) == 16
    for cell in range(16):
        real, found = scored.real[:, cell, 0, 0], scored.predicted["last"][:, cell, 0, 0]
        np.testing.assert_allclose(rmse[cell], np.sqrt(mean_squared_error(real, found)), rtol=1e-5)
        np.testing.assert_allclose(explained[cell], r2_score(real, found), rtol=1e-4, atol=1e-5)
    page = fit_maps(scored, dataset(), "last", 0)
    assert page.startswith("<svg")
    assert "share of the variance explained" in page
