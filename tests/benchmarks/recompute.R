# The tables of five simulated trials, computed again in R from results.csv and visits.csv alone: see recompute.py.
suppressMessages({library(coin); library(nlme)})
root <- commandArgs(trailingOnly = TRUE)[1]
worst <- data.frame()
note <- function(trial, what, theirs, ours) {
  theirs <- as.numeric(theirs); ours <- as.numeric(ours)
  if (is.infinite(ours)) ours <- NA  # a ratio without bound is an empty cell of the tables
  off <- if (is.na(theirs) && is.na(ours)) 0 else if (is.na(theirs) || is.na(ours)) Inf
         else abs(theirs - ours) / max(1, abs(ours))
  worst <<- rbind(worst, data.frame(trial = trial, what = what, off = off))
}
visits <- c("d10", "d28", "d90"); measures <- c("lesion", "solid", "ground_glass"); z <- qnorm(0.975)
wilson <- function(x, n) { p <- x / n; c((p + z^2 / (2 * n) + c(-1, 1) * z * sqrt(p * (1 - p) / n + z^2 / (4 * n^2))) / (1 + z^2 / n)) }
newcombe <- function(x1, n1, x2, n2) {
  a <- wilson(x1, n1); b <- wilson(x2, n2); p <- x1 / n1; q <- x2 / n2
  c(p - q - sqrt((p - a[1])^2 + (b[2] - q)^2), p - q + sqrt((a[2] - p)^2 + (q - b[1])^2))
}
miettinen <- function(x1, n1, x2, n2) {  # the restricted maximum by search, not by the cubic
  score <- function(d) {
    ends <- c(max(0, -d), min(1, 1 - d)); eps <- 1e-13
    loglik <- function(p) { term <- function(k, q) if (k == 0) 0 else k * log(max(q, 1e-300))
      term(x1, p + d) + term(n1 - x1, 1 - p - d) + term(x2, p) + term(n2 - x2, 1 - p) }
    p <- optimize(loglik, ends + c(eps, -eps), maximum = TRUE, tol = 1e-12)$maximum
    v <- ((p + d) * (1 - p - d) / n1 + p * (1 - p) / n2) * (n1 + n2) / (n1 + n2 - 1)
    (x1 / n1 - x2 / n2 - d) / sqrt(v)
  }
  est <- x1 / n1 - x2 / n2
  c(uniroot(function(d) score(d) - z, c(-0.99999, est), tol = 1e-10)$root,
    uniroot(function(d) score(d) + z, c(est, 0.99999), tol = 1e-10)$root)
}
compare <- function(a, b) {
  a9 <- round(a, 9); b9 <- round(b, 9); m <- length(a); n <- length(b); d <- sort(outer(a, b, "-"))
  exact <- m < 50 && n < 50 && !anyDuplicated(c(a9, b9))
  p <- suppressWarnings(wilcox.test(a9, b9, exact = exact, correct = TRUE)$p.value)
  if (exact) { k <- qwilcox(0.025, m, n); if (pwilcox(k, m, n) <= 0.025) k <- k + 1 } else {
    ties <- sum(sapply(list(a9, b9), function(v) sum(table(v)^3 - table(v))))
    k <- floor(m * n / 2 + 0.5 - z * sqrt(m * n / 12 * (m + n + 1 - ties / ((m + n) * (m + n - 1)))))
  }
  c(shift = median(d), low = d[k], high = d[m * n + 1 - k], p = p)
}
for (trial in list.dirs(root, full.names = FALSE, recursive = FALSE)) {
  read <- function(name) read.csv(file.path(root, trial, name), colClasses = "character", check.names = FALSE)
  v <- read("visits.csv"); r <- read("results.csv")
  num <- function(x) suppressWarnings(as.numeric(x))
  e <- read("out/endpoint.csv"); s <- read("out/sensitivity.csv"); ev <- read("out/events.csv"); mo <- read("out/models.csv")
  subjects <- unique(v$subject); arm <- v$arm[match(subjects, v$subject)]; in_a <- arm == "cells"
  age <- num(v$age[match(subjects, v$subject)]); site <- v$site[match(subjects, v$subject)]
  scan <- function(visit, column) { row <- match(paste(subjects, visit), paste(v$subject, v$visit)); num(r[[column]][match(v$scan_id[row], r$scan_id)]) }
  died <- function(visit) v$status[match(paste(subjects, visit), paste(v$subject, v$visit))] == "died"
  pick <- function(t, ...) { k <- list(...); for (name in names(k)) t <- t[t[[name]] == k[[name]], ]; stopifnot(nrow(t) == 1); t }
  for (measure in measures) for (scale in c("relative_percent", "absolute_points")) {
    column <- paste0("percent_of_lung.", measure); base <- scan("baseline", column)
    change <- sapply(visits, function(w) { x <- scan(w, column); y <- x - base; if (scale == "absolute_points") y else ifelse(base == 0, NA, 100 * y / base) })
    carried <- change
    for (k in 2:3) { gap <- is.na(carried[, k]); carried[gap, k] <- carried[gap, k - 1] }
    for (k in 1:3) carried[died(visits[k]), k] <- NA
    lungs <- sapply(c("baseline", visits), function(w) scan(w, "volumes_ml.lung"))
    for (k in 1:3) {
      w <- visits[k]; y <- change[, k]; a <- y[in_a & !is.na(y)]; b <- y[!in_a & !is.na(y)]
      row <- pick(e, measure = measure, scale = scale, visit = w); found <- compare(a, b)
      note(trial, "n", row$n_a, length(a)); note(trial, "median", row$median_a, median(a))
      note(trial, "quartiles", row$q1_b, quantile(b, 0.25)); note(trial, "sd", row$sd_b, sd(b))
      note(trial, "Hodges-Lehmann", row$shift, found["shift"]); note(trial, "interval of the shift", row$ci_low, found["low"])
      note(trial, "interval of the shift", row$ci_high, found["high"]); note(trial, "Wilcoxon p", row$p, found["p"])
      z9 <- carried[, k]; row <- pick(s, measure = measure, scale = scale, visit = w, analysis = "last_observation_carried_forward")
      found <- compare(z9[in_a & !is.na(z9)], z9[!in_a & !is.na(z9)])
      note(trial, "LOCF", row$shift, found["shift"]); note(trial, "LOCF", row$p, found["p"]); note(trial, "LOCF", row$n_a, sum(in_a & !is.na(z9)))
      kept <- ifelse(abs(lungs[, k + 1] - lungs[, 1]) > 0.15 * lungs[, 1], NA, y)
      row <- pick(s, measure = measure, scale = scale, visit = w, analysis = "without_grade_c")
      found <- compare(kept[in_a & !is.na(kept)], kept[!in_a & !is.na(kept)])
      note(trial, "without grade C", row$shift, found["shift"]); note(trial, "without grade C", row$p, found["p"])
      ranked <- ifelse(died(w), 1e6, y); row <- pick(s, measure = measure, scale = scale, visit = w, analysis = "worst_rank_death")
      note(trial, "worst rank", row$p, compare(ranked[in_a & !is.na(ranked)], ranked[!in_a & !is.na(ranked)])["p"])
      use <- !is.na(y); d <- data.frame(y = y, g = as.numeric(in_a), base = base, age = age, site = site)[use, ]
      fit <- lm(y ~ g + base + age + site, d); row <- pick(mo, method = "ancova", measure = measure, scale = scale, visit = w)
      note(trial, "ANCOVA", row$estimate, coef(fit)["g"]); note(trial, "ANCOVA", row$p, summary(fit)$coefficients["g", 4])
      note(trial, "ANCOVA", row$ci_low, confint(fit)["g", 1])
      rank9 <- function(x) rank(round(x, 9)); d$left <- resid(lm(rank9(y) ~ rank9(base) + rank9(age), d))
      row <- pick(mo, method = "rank_ancova", measure = measure, scale = scale, visit = w)
      note(trial, "rank ANCOVA", row$p, anova(lm(left ~ g, d))[1, 5])
      d$score <- ave(round(d$y, 9), d$site, FUN = function(x) rank(x) / (length(x) + 1))
      test <- independence_test(score ~ factor(g) | factor(site), data = d, teststat = "quadratic")
      row <- pick(mo, method = "van_elteren", measure = measure, scale = scale, visit = w)
      note(trial, "van Elteren", row$p, pvalue(test)); note(trial, "van Elteren", row$statistic, statistic(test))
      row <- pick(mo, method = "median_difference", measure = measure, scale = scale, visit = w)
      note(trial, "difference of medians", row$estimate, median(a) - median(b))
    }
    long <- do.call(rbind, lapply(1:3, function(k) data.frame(id = subjects, visit = k, y = change[, k], g = as.numeric(in_a), base = base - mean(base[rep(!is.na(change[, k]), 1)]), age = age, site = site)))
    long <- long[!is.na(long$y), ]; long$f <- factor(long$visit)
    fit <- try(gls(y ~ 0 + f + f:g + f:base + age + site, long, correlation = corSymm(form = ~ visit | id),
                   weights = varIdent(form = ~ 1 | f), control = glsControl(maxIter = 200, msMaxIter = 500, tolerance = 1e-9, msTol = 1e-10)), silent = TRUE)
    if (!inherits(fit, "try-error")) for (k in 1:3) {
      row <- pick(mo, method = "mmrm", measure = measure, scale = scale, visit = visits[k]); t <- summary(fit)$tTable[paste0("f", k, ":g"), ]
      note(trial, "MMRM estimate", row$estimate, t["Value"]); note(trial, "MMRM standard error", row$se, t["Std.Error"])
    }
    at <- e$scale == scale & e$measure %in% measures & e$p != ""
    for (k in which(at)) note(trial, "Holm", e$p_holm[k], p.adjust(num(e$p[at]), "holm")[which(which(at) == k)])
  }
  for (w in visits) {
    x <- v$honeycomb[match(paste(subjects, w), paste(v$subject, v$visit))]; use <- x %in% c("yes", "no")
    counts <- c(sum(use & in_a & x == "yes"), sum(use & in_a), sum(use & !in_a & x == "yes"), sum(use & !in_a))
    row <- pick(ev, outcome = "honeycomb", visit = w); t <- matrix(c(counts[1], counts[2] - counts[1], counts[3], counts[4] - counts[3]), 2)
    test <- fisher.test(t); note(trial, "Fisher p", row$p, test$p.value)
    note(trial, "exact odds ratio", row$odds_ratio_exact, test$estimate)
    note(trial, "exact odds ratio", row$exact_ci_low, test$conf.int[1])
    se <- sqrt(sum(1 / t)); log_or <- log(t[1, 1] * t[2, 2] / (t[1, 2] * t[2, 1]))
    if (all(t > 0)) { note(trial, "Woolf", row$odds_ratio, exp(log_or)); note(trial, "Woolf", row$ci_low, exp(log_or - z * se)) }
    by <- if (row$difference_method == "Newcombe") newcombe else miettinen; ends <- 100 * do.call(by, as.list(counts))
    note(trial, row$difference_method, row$difference_ci_low, ends[1]); note(trial, row$difference_method, row$difference_ci_high, ends[2])
  }
}
table <- aggregate(off ~ what, worst, function(x) c(length(x), max(x)))
out <- data.frame(figure = table$what, compared = table$off[, 1], largest_difference = signif(table$off[, 2], 2))
print(out, row.names = FALSE)
