extension Plane {
    /// The mask without small islands: only connected components of a size near the largest one's stay.
    ///
    /// A component is a set of pixels of at least `rim` that touch one another, also at corners; its size is how many of
    /// them reach `threshold`. Its soft rim goes with it, so nothing faint is left of an island.
    ///
    /// - Parameters:
    ///   - share: components of at least this share of the largest one's size stay, 0..1; 1 keeps the largest alone.
    ///   - threshold: P(person) from which a pixel counts.
    ///   - rim: P(person) from which a pixel belongs to a component.
    public func withoutIslands(share: Double = 0.1, threshold: Float = 0.5, rim: Float = 0.05) -> Plane {
        let components = Components(of: self, rim: rim)
        var sizes = [Int](repeating: 0, count: components.count)
        for (label, value) in zip(components.labels, values) where label >= 0 && value >= threshold {
            sizes[label] += 1
        }
        guard let largest = sizes.max(), largest > 0 else { return self }
        let least = share * Double(largest)
        let stays = sizes.map { $0 > 0 && Double($0) >= least }
        return Plane(size: size) { out in
            for index in out.indices {
                let label = components.labels[index]
                out[index] = label < 0 || stays[label] ? values[index] : 0
            }
        }
    }
}

/// The connected components of a mask, found by two passes with union-find (Rosenfeld & Pfaltz, JACM 1966).
struct Components {
    /// Per pixel the component that it belongs to, 0..<count; -1 where it belongs to none.
    private(set) var labels: [Int]
    /// How many components there are.
    private(set) var count = 0

    init(of mask: Plane, rim: Float) {
        let (height, width) = (mask.size.height, mask.size.width)
        labels = [Int](repeating: -1, count: mask.size.pixelCount)
        var parents: [Int] = []
        for row in 0..<height {
            for column in 0..<width where mask.values[row * width + column] >= rim {
                var label = -1
                for (up, left) in [(0, 1), (1, 1), (1, 0), (1, -1)] {
                    let (otherRow, otherColumn) = (row - up, column - left)
                    guard otherRow >= 0, otherColumn >= 0, otherColumn < width else { continue }
                    let other = labels[otherRow * width + otherColumn]
                    guard other >= 0 else { continue }
                    label = label < 0 ? other : Self.join(label, other, &parents)
                }
                if label < 0 {
                    label = parents.count
                    parents.append(label)
                }
                labels[row * width + column] = label
            }
        }
        number(&parents)
    }

    /// Replaces provisional labels by those of their components, in reading order.
    private mutating func number(_ parents: inout [Int]) {
        var numbers = [Int](repeating: -1, count: parents.count)
        for index in labels.indices where labels[index] >= 0 {
            let root = Self.root(labels[index], &parents)
            if numbers[root] < 0 {
                numbers[root] = count
                count += 1
            }
            labels[index] = numbers[root]
        }
    }

    private static func root(_ label: Int, _ parents: inout [Int]) -> Int {
        var label = label
        while parents[label] != label {
            parents[label] = parents[parents[label]]
            label = parents[label]
        }
        return label
    }

    private static func join(_ a: Int, _ b: Int, _ parents: inout [Int]) -> Int {
        let (rootA, rootB) = (root(a, &parents), root(b, &parents))
        parents[max(rootA, rootB)] = min(rootA, rootB)
        return min(rootA, rootB)
    }
}
