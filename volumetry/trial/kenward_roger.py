"""Small-sample covariance of the fixed effects of the unstructured model, after Kenward and Roger.

X'V^-1 X takes the estimated covariance of the visits for the true one. The adjusted covariance of the effects

    C + 2 C { sum_ij w_ij (Q_ij - P_i C P_j) } C

adds what its estimation costs, with P_i = -X'V^-1 V_i V^-1 X, Q_ij = X'V^-1 V_i V^-1 V_j V^-1 X, V_i the
derivative of V by entry i of the covariance of the visits, and w the covariance of the estimated entries. V is
linear in its entries, so that the second derivatives of the paper are 0, and the degrees of freedom of a single
contrast are those of Satterthwaite. ``ddfm=kr`` of PROC MIXED for ``type=un``, and "Kenward-Roger-Linear" of the R
package mmrm, are this.

Reference: Kenward and Roger, Biometrics 53 (1997), 983-997.
"""

import numpy as np

from volumetry.trial.statistics import Values
from volumetry.trial.unstructured import Fit, spread_of_entries


def adjusted_covariance(fitted: Fit) -> Values | None:
    """Covariance of the fixed effects with the small-sample adjustment.

    Parameters
    ----------
    fitted
        From `volumetry.trial.unstructured.fit`, by restricted likelihood.

    Returns
    -------
    NDArray or None
        None if the information of the covariance cannot be inverted.
    """
    count = len(fitted.covariance)
    places = [(i, j) for i in range(count) for j in range(i + 1)]
    spread = spread_of_entries(fitted, places)
    if spread is None:
        return None
    basis = np.zeros((len(places), count, count))
    for n, (i, j) in enumerate(places):
        basis[n, i, j] = basis[n, j, i] = 1.0
    size = len(fitted.effects)
    first, second = np.zeros((len(places), size, size)), np.zeros((size, size))
    for pattern in fitted.patterns:
        at = np.ix_(pattern.visits, pattern.visits)
        inverse = np.linalg.inv(fitted.covariance[at])
        moved = np.array([entry[at] for entry in basis])
        pulled = np.einsum("ts,nsa->nta", inverse, pattern.design)
        moments = np.einsum("nta,nsb->tsab", pulled, pulled)
        first -= np.einsum("its,tsab->iab", moved, moments)
        second += np.einsum("ij,itu,uv,jvs,tsab->ab", spread, moved, inverse, moved, moments, optimize=True)
    explained = np.einsum("ij,iab,bc,jcd->ad", spread, first, fitted.effects_covariance, first, optimize=True)
    more: Values = fitted.effects_covariance @ (second - explained) @ fitted.effects_covariance
    adjusted: Values = fitted.effects_covariance + 2 * more
    return adjusted
