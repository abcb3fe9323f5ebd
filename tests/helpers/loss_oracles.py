"""The losses of `mdl_tf.losses` as plain Python loops, in float64; imports NumPy only.

Each returns one value per image, of which the plain mean is the loss.
"""

import math

import numpy as np

from helpers.oracles import distance as distance_of


def per_image(terms, count):
    """B times the summed terms of each image, over how many terms the loss averages."""
    return np.array([len(terms) * term / max(1, count) for term in terms], dtype="float64")


def positives_of(labels, i):
    return [j for j in range(len(labels)) if j != i and labels[j] == labels[i]]


def negatives_of(labels, i):
    return [j for j in range(len(labels)) if labels[j] != labels[i]]


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def cosine(a, b):
    return 1 - distance_of(a, b, "cosine")


def unit(a):
    norm = math.sqrt(dot(a, a))
    return np.array([float(x) / norm if norm else 0.0 for x in a])


def softplus(x):
    return math.log1p(math.exp(x))


def cross_entropy(logits, target):
    total = 0.0
    for logit in logits:
        total += math.exp(logit)
    return -math.log(math.exp(logits[target]) / total)


def contrastive(
    labels, embeddings, *, positive_margin, negative_margin, squared, average, distance
):
    """Hadsell, Chopra, LeCun 2006: Dimensionality reduction by learning an invariant mapping."""
    size = len(labels)
    positive, negative = [0.0] * size, [0.0] * size
    active_positive = active_negative = 0
    for i in range(size):
        for j in range(size):
            if i == j:
                continue
            d = distance_of(embeddings[i], embeddings[j], distance)
            if labels[i] == labels[j]:
                h = max(0.0, d - positive_margin)
                active_positive += h > 0
                positive[i] += h**2 if squared else h
            else:
                h = max(0.0, negative_margin - d)
                active_negative += h > 0
                negative[i] += h**2 if squared else h
    if average == "active":
        return per_image(positive, active_positive) + per_image(negative, active_negative)
    assert average == "pairs"
    pairs = size * (size - 1)
    return per_image(positive, pairs) + per_image(negative, pairs)


def triplet(labels, embeddings, *, margin, mining, distance, soft):
    """Schroff et al. 2015: FaceNet; Hermans et al. 2017: In defense of the triplet loss."""
    assert mining in ("all", "semi_hard", "hard")
    assert not soft or mining == "hard"
    size = len(labels)
    terms, count = [0.0] * size, 0
    for a in range(size):
        d = [distance_of(embeddings[a], embeddings[j], distance) for j in range(size)]
        positives, negatives = positives_of(labels, a), negatives_of(labels, a)
        if not positives or not negatives:
            continue
        if mining == "hard":
            value = margin + max(d[p] for p in positives) - min(d[n] for n in negatives)
            terms[a] += softplus(value) if soft else max(0.0, value)
            count += 1
            continue
        for p in positives:
            if mining == "all":
                for n in negatives:
                    value = margin + d[p] - d[n]
                    if value > 0:
                        terms[a] += value
                        count += 1
            else:
                farther = [d[n] for n in negatives if d[n] > d[p]]
                chosen = min(farther) if farther else max(d[n] for n in negatives)
                terms[a] += max(0.0, margin + d[p] - chosen)
                count += 1
    return per_image(terms, count)


def lifted_structure(labels, embeddings, *, margin, distance):
    """Song et al. 2016: Deep metric learning via lifted structured feature embedding."""
    size = len(labels)
    terms, count = [0.0] * size, 0
    for i in range(size):
        for j in positives_of(labels, i):
            total = 0.0
            for k in negatives_of(labels, i):
                total += math.exp(margin - distance_of(embeddings[i], embeddings[k], distance))
            for k in negatives_of(labels, j):
                total += math.exp(margin - distance_of(embeddings[j], embeddings[k], distance))
            if total:
                value = distance_of(embeddings[i], embeddings[j], distance) + math.log(total)
                terms[i] += max(0.0, value) ** 2 / 2
                count += 1
    return per_image(terms, count)


def generalized_lifted_structure(labels, embeddings, *, margin, distance):
    """Hermans et al. 2017: In defense of the triplet loss, section 2."""
    size = len(labels)
    terms, count = [0.0] * size, 0
    for a in range(size):
        near = far = 0.0
        for p in positives_of(labels, a):
            near += math.exp(distance_of(embeddings[a], embeddings[p], distance))
        for n in negatives_of(labels, a):
            far += math.exp(margin - distance_of(embeddings[a], embeddings[n], distance))
        if near and far:
            terms[a] = max(0.0, math.log(near) + math.log(far))
            count += 1
    return per_image(terms, count)


def n_pairs(labels, embeddings, *, l2):
    """Sohn 2016: Improved deep metric learning with multi-class N-pair loss objective."""
    size = len(labels)
    waiting, finished, rounds = {}, {}, {}
    for i in range(size):
        label = int(labels[i])
        if label in waiting:
            turn = finished.get(label, 0)
            rounds.setdefault(turn, []).append((waiting.pop(label), i))
            finished[label] = turn + 1
        else:
            waiting[label] = i
    terms, count = [0.0] * size, 0
    for pairs in rounds.values():
        if len(pairs) < 2:
            continue
        for a, p in pairs:
            # The form of the paper, relative to the positive, not that of a cross-entropy.
            total = 0.0
            for _, other in pairs:
                if other != p:
                    total += math.exp(
                        dot(embeddings[a], embeddings[other]) - dot(embeddings[a], embeddings[p])
                    )
            norms = dot(embeddings[a], embeddings[a]) + dot(embeddings[p], embeddings[p])
            terms[a] = math.log1p(total) + l2 * norms / 2
            count += 1
    return per_image(terms, count)


def angular(labels, embeddings, *, alpha):
    """Wang et al. 2017: Deep metric learning with angular loss; of unit vectors."""
    size = len(labels)
    embeddings = [unit(x) for x in embeddings]
    tangent = math.tan(math.radians(alpha)) ** 2
    terms, count = [0.0] * size, 0
    for a in range(size):
        negatives = negatives_of(labels, a)
        for p in positives_of(labels, a):
            if not negatives:
                continue
            total = 0.0
            for n in negatives:
                both = dot(embeddings[a], embeddings[n]) + dot(embeddings[p], embeddings[n])
                pair = dot(embeddings[a], embeddings[p])
                total += math.exp(4 * tangent * both - 2 * (1 + tangent) * pair)
            terms[a] += math.log1p(total)
            count += 1
    return per_image(terms, count)


def margin(labels, embeddings, *, margin, beta, nu, distance):
    """Wu et al. 2017: Sampling matters in deep embedding learning."""
    size = len(labels)
    terms, active = [0.0] * size, 0
    boundaries, valid = [0.0] * size, 0
    for a in range(size):
        boundary = float(beta) if np.ndim(beta) == 0 else float(beta[labels[a]])
        positives, negatives = positives_of(labels, a), negatives_of(labels, a)
        if positives and negatives:
            boundaries[a] = nu * boundary
            valid += 1
        for p in positives:
            for n in negatives:
                near = distance_of(embeddings[a], embeddings[p], distance) - boundary + margin
                far = boundary - distance_of(embeddings[a], embeddings[n], distance) + margin
                for value in (near, far):
                    if value > 0:
                        terms[a] += value
                        active += 1
    return per_image(terms, active) + per_image(boundaries, valid)


def multi_similarity(labels, embeddings, *, alpha, beta, base, mining_margin, mined_from=None):
    """Wang et al. 2019: Multi-similarity loss with general pair weighting."""
    size = len(labels)
    # Which pairs are kept is no part of the gradient.
    mined_from = embeddings if mined_from is None else mined_from
    terms, count = [0.0] * size, 0
    for i in range(size):
        positives, negatives = positives_of(labels, i), negatives_of(labels, i)
        if not positives or not negatives:
            continue
        count += 1
        if mining_margin is not None:
            s = [cosine(mined_from[i], mined_from[j]) for j in range(size)]
            nearest, farthest = max(s[n] for n in negatives), min(s[p] for p in positives)
            positives = [p for p in positives if s[p] < nearest + mining_margin]
            negatives = [n for n in negatives if s[n] > farthest - mining_margin]
        near = far = 0.0
        for p in positives:
            near += math.exp(-alpha * (cosine(embeddings[i], embeddings[p]) - base))
        for n in negatives:
            far += math.exp(beta * (cosine(embeddings[i], embeddings[n]) - base))
        terms[i] = math.log1p(near) / alpha + math.log1p(far) / beta
    return per_image(terms, count)


def circle(labels, embeddings, *, margin, gamma, weights_from=None):
    """Sun et al. 2020: Circle loss: a unified perspective of pair similarity optimization."""
    size = len(labels)
    # The self-paced weights are constants to the gradient: finite differences hold them still.
    weights_from = embeddings if weights_from is None else weights_from
    terms, count = [0.0] * size, 0
    for i in range(size):
        positives, negatives = positives_of(labels, i), negatives_of(labels, i)
        if not positives or not negatives:
            continue
        total = 0.0
        for p in positives:
            weight_p = max(0.0, 1 + margin - cosine(weights_from[i], weights_from[p]))
            logit_p = -gamma * weight_p * (cosine(embeddings[i], embeddings[p]) - (1 - margin))
            for n in negatives:
                weight_n = max(0.0, cosine(weights_from[i], weights_from[n]) + margin)
                logit_n = gamma * weight_n * (cosine(embeddings[i], embeddings[n]) - margin)
                total += math.exp(logit_p + logit_n)
        terms[i] = math.log1p(total)
        count += 1
    return per_image(terms, count)


def sup_con(labels, embeddings, *, temperature, denominator):
    """Khosla et al. 2020: Supervised contrastive learning, the sum outside of the logarithm."""
    assert denominator in ("all", "negatives")
    size = len(labels)
    terms, count = [0.0] * size, 0
    for i in range(size):
        positives, negatives = positives_of(labels, i), negatives_of(labels, i)
        if not positives or not negatives:
            continue
        for p in positives:
            others = positives + negatives if denominator == "all" else [p] + negatives
            total = 0.0
            for j in others:
                total += math.exp(cosine(embeddings[i], embeddings[j]) / temperature)
            own = math.exp(cosine(embeddings[i], embeddings[p]) / temperature)
            terms[i] -= math.log(own / total) / len(positives)
        count += 1
    return per_image(terms, count)


def normalized_softmax(labels, embeddings, proxies, *, temperature):
    """Zhai, Wu 2019: Classification is a strong baseline for deep metric learning."""
    terms = []
    for i in range(len(labels)):
        logits = [cosine(embeddings[i], proxy) / temperature for proxy in proxies]
        terms.append(cross_entropy(logits, labels[i]))
    return per_image(terms, len(terms))


def proxy_nca(labels, embeddings, proxies, *, scale, target_in_denominator):
    """Movshovitz-Attias et al. 2017: No fuss distance metric learning using proxies."""
    terms = []
    for i in range(len(labels)):
        own, total = 0.0, 0.0
        for z in range(len(proxies)):
            d = distance_of(unit(embeddings[i]), unit(proxies[z]), "squared_euclidean")
            if z == labels[i]:
                own = math.exp(-scale * d)
            if z != labels[i] or target_in_denominator:
                total += math.exp(-scale * d)
        terms.append(-math.log(own / total))
    return per_image(terms, len(terms))


def proxy_anchor(labels, embeddings, proxies, *, margin, alpha):
    """Kim et al. 2020: Proxy anchor loss for deep metric learning."""
    size, classes = len(labels), len(proxies)
    present = sum(any(label == z for label in labels) for z in range(classes))
    pull, push = [0.0] * size, [0.0] * size
    for z in range(classes):
        positives = [i for i in range(size) if labels[i] == z]
        negatives = [i for i in range(size) if labels[i] != z]
        near = far = 0.0
        for i in positives:
            near += math.exp(-alpha * (cosine(embeddings[i], proxies[z]) - margin))
        for i in negatives:
            far += math.exp(alpha * (cosine(embeddings[i], proxies[z]) + margin))
        for i in positives:
            pull[i] += math.log1p(near) / len(positives)
        for i in negatives:
            push[i] += math.log1p(far) / len(negatives)
    return per_image(pull, present) + per_image(push, classes)


def arc_face(labels, embeddings, proxies, *, margin, scale):
    """Deng et al. 2019: ArcFace: additive angular margin loss for deep face recognition."""
    terms = []
    for i in range(len(labels)):
        logits = []
        for z in range(len(proxies)):
            c = cosine(embeddings[i], proxies[z])
            if z == labels[i]:
                # Rounding can leave the cosine of parallel vectors just outside of [-1, 1].
                theta = math.acos(min(1.0, max(-1.0, c)))
                if theta + margin <= math.pi:
                    c = math.cos(theta + margin)
                else:
                    c = c - margin * math.sin(margin)
            logits.append(scale * c)
        terms.append(cross_entropy(logits, labels[i]))
    return per_image(terms, len(terms))


def cos_face(labels, embeddings, proxies, *, margin, scale):
    """Wang et al. 2018: CosFace: large margin cosine loss for deep face recognition."""
    terms = []
    for i in range(len(labels)):
        logits = []
        for z in range(len(proxies)):
            c = cosine(embeddings[i], proxies[z])
            logits.append(scale * (c - margin if z == labels[i] else c))
        terms.append(cross_entropy(logits, labels[i]))
    return per_image(terms, len(terms))


def soft_triple(labels, embeddings, centers, *, scale, gamma, margin, tau):
    """Qian et al. 2019: SoftTriple loss: deep metric learning without triplet sampling."""
    classes, per_class = len(centers), len(centers[0])
    spread = 0.0
    for z in range(classes):
        for k in range(per_class):
            for other in range(k + 1, per_class):
                apart = 2 - 2 * cosine(centers[z][k], centers[z][other])
                spread += math.sqrt(max(0.0, apart)) / (classes * per_class * (per_class - 1))
    terms = []
    for i in range(len(labels)):
        logits = []
        for z in range(classes):
            weighted = total = 0.0
            for k in range(per_class):
                c = cosine(embeddings[i], centers[z][k])
                weighted += math.exp(c / gamma) * c
                total += math.exp(c / gamma)
            relaxed = weighted / total
            logits.append(scale * (relaxed - margin if z == labels[i] else relaxed))
        terms.append(cross_entropy(logits, labels[i]) + tau * spread)
    return per_image(terms, len(terms))
