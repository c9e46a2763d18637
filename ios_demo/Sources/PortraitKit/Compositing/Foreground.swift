extension Compositor {
    /// The same photo with the person's own colours where the mask is soft and the photo shows a mixture.
    ///
    /// Cutting out the photo itself takes the old background along as a halo. "Fast multi-level" blur-fusion of Forte,
    /// Approximate fast foreground colour estimation, ICIP 2021:
    ///
    ///     F̂ = blur(F·α)/blur(α),  B̂ = blur(B·(1−α))/blur(1−α),  F = F̂ + α·(I − α·F̂ − (1−α)·B̂)
    ///
    /// first with a wide, then with a narrow blur. F̂ and B̂ are smooth, so they are found at a reduced size. The result
    /// is held between I and F̂: where the mask is softer than the photo's edge, F would overshoot into a bright or dark
    /// rim. Where the mask is 0 or 1 the photo is unchanged. It equals the toolkit's `imaging.foreground.person_colors`.
    ///
    /// - Parameter workingSide: the longer side at which the blurs are computed, in pixels.
    public func foreground(workingSide: Int = 512) -> Picture {
        let scale = min(1, Double(workingSide) / Double(max(photo.size.height, photo.size.width)))
        let size = PixelSize(
            height: max(1, roundHalfToEven(Double(photo.size.height) * scale)),
            width: max(1, roundHalfToEven(Double(photo.size.width) * scale))
        )
        let alpha = mask.resampled(to: size)
        let small = photo.resampled(to: size)
        let means = (0..<3).map { channel in
            colorMeans(small.unitPlane(channel), alpha: alpha)
        }
        return Picture(size: photo.size, channels: 3) { out in
            for channel in 0..<3 {
                let person = means[channel].person.resampled(to: photo.size)
                let rest = means[channel].rest.resampled(to: photo.size)
                for index in mask.values.indices {
                    let alpha = mask.values[index]
                    guard alpha > 0, alpha < 1 else {
                        out[index * 3 + channel] = photo.samples[index * 3 + channel]
                        continue
                    }
                    let own = Float(photo.samples[index * 3 + channel]) / 255
                    let near = person.values[index]
                    let color = fused(own, alpha: alpha, near, rest.values[index])
                    out[index * 3 + channel] = byte(min(max(own, near), max(min(own, near), color)) * 255)
                }
            }
        }
    }

    /// F̂ and B̂ of one channel after both blurs.
    private func colorMeans(_ image: Plane, alpha: Plane) -> (person: Plane, rest: Plane) {
        let width = Double(image.size.width)
        let wide = means(person: image, rest: image, alpha: alpha, radius: width / 12)
        let color = Plane(size: image.size) { out in
            for index in out.indices {
                out[index] = fused(
                    image.values[index], alpha: alpha.values[index], wide.person.values[index], wide.rest.values[index])
            }
        }
        return means(person: color, rest: wide.rest, alpha: alpha, radius: width / 64)
    }

    private func means(
        person: Plane, rest: Plane, alpha: Plane, radius: Double
    ) -> (person: Plane, rest: Plane) {
        let near = alpha.blurred(radius: radius)
        let personMean = person.combined(with: alpha, *).blurred(radius: radius)
            .combined(with: near) { $0 / ($1 + 1e-4) }
        let restMean = rest.combined(with: alpha) { $0 * (1 - $1) }.blurred(radius: radius)
            .combined(with: near) { $0 / (1 - $1 + 1e-4) }
        return (personMean, restMean)
    }

    private func fused(_ own: Float, alpha: Float, _ person: Float, _ rest: Float) -> Float {
        min(1, max(0, person + alpha * (own - alpha * person - (1 - alpha) * rest)))
    }
}

extension Picture {
    /// One channel as values in 0..1.
    func unitPlane(_ channel: Int) -> Plane {
        Plane(size: size) { out in
            for index in out.indices { out[index] = Float(samples[index * channels + channel]) / 255 }
        }
    }
}
