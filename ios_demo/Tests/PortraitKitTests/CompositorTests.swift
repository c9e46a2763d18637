import PortraitKit
import Testing

@Suite struct CompositorTests {
    struct Inputs: Decodable, Sendable {
        let photo, mask: Packed
        let backgroundSeed: Int
        let backgroundShape: [Int]

        func compositor() throws -> Compositor { try Compositor(photo: photo.picture(), mask: mask.plane()) }

        func background() throws -> Background {
            var draws = SplitMix64(seed: backgroundSeed)
            return .picture(try draws.picture(PixelSize(backgroundShape)))
        }
    }

    struct Row: Decodable, Sendable, CustomTestStringConvertible {
        let inputs: Inputs?
        let name: String?
        let expected: Packed?

        var testDescription: String { name ?? "inputs" }
    }

    /// Sums in another order may round a pixel to the other side.
    static let byteTolerance = 1

    static func inputs() throws -> Inputs {
        try #require(Fixture.rows("composites", as: Row.self).compactMap(\.inputs).first)
    }

    @Test(arguments: try Fixture.rows("composites", as: Row.self).filter { $0.name != nil })
    func looksEqualPythons(_ row: Row) throws {
        let inputs = try Self.inputs()
        let name = try #require(row.name)
        let picture = try picture(name, inputs)
        let expected = try #require(row.expected).picture()
        let exact = ["mask", "blurred_0"].contains(name)
        #expect(largestDifference(picture, expected) <= (exact ? 0 : Self.byteTolerance))
    }

    private func picture(_ name: String, _ inputs: Inputs) throws -> Picture {
        let compositor = try inputs.compositor()
        switch name {
        case "mask": return try compositor.picture(.mask)
        case "cutOut": return try compositor.picture(.cutOut)
        case "replacedByColor": return try compositor.picture(.replaced(.color(red: 30, green: 144, blue: 255)))
        case "replacedByPicture": return try compositor.picture(.replaced(inputs.background()))
        case "blurred_default": return try compositor.picture(.blurred(sigma: nil))
        case "foreground": return compositor.foreground()
        default:
            let sigma: Double = try #require(Double(String(name.dropFirst("blurred_".count))))
            return try compositor.picture(.blurred(sigma: sigma))
        }
    }

    @Test func aTintLetsThePhotoShowThrough() throws {
        let size = PixelSize(height: 1, width: 3)
        let photo = try Picture(size: size, channels: 3, samples: [200, 100, 0, 200, 100, 0, 200, 100, 0])
        let compositor = try Compositor(photo: photo, mask: Plane(size: size, values: [0, 0.5, 1]))
        let tinted = try compositor.picture(.tinted(red: 0, green: 100, blue: 200, opacity: 0.5))
        #expect(tinted.samples == [200, 100, 0, 150, 100, 50, 100, 100, 100])
        #expect(throws: PortraitError.outOfRange(what: "The opacity", allowed: "0 to 1", found: 1.5)) {
            try compositor.picture(.tinted(red: 0, green: 0, blue: 0, opacity: 1.5))
        }
    }

    /// The person's own colour comes back where the photo shows a mixture with what is behind.
    @Test func foregroundColoursLeaveNoHalo() throws {
        let size = PixelSize(height: 40, width: 160)
        let alpha = (0..<size.pixelCount).map { Float(min(1, max(0, (Double($0 % 160) - 78) / 4))) }
        let mixed = alpha.flatMap { [UInt8(($0 * 200).rounded()), UInt8(((1 - $0) * 200).rounded()), 40] }
        let compositor = try Compositor(
            photo: Picture(size: size, channels: 3, samples: mixed), mask: Plane(size: size, values: alpha))
        let clean = compositor.foreground()
        let halfway = 20 * 160 + 80
        #expect(compositor.photo.samples[halfway * 3] == 100)
        #expect(clean.samples[halfway * 3] > 180)
        #expect(clean.samples[halfway * 3 + 1] < 20)
    }

    /// Live video can do without: then the colours are the photo's.
    @Test func photoColoursAreKeptOnRequest() throws {
        let inputs = try Self.inputs()
        let photo = try inputs.photo.picture()
        let plain = try Compositor(photo: photo, mask: inputs.mask.plane(), estimatesColors: false)
        let cut = plain.cutOut()
        let kept = plain.mask.values.indices.filter { cut.samples[$0 * 4 + 3] > 0 }
        #expect(kept.allSatisfy { cut.samples[$0 * 4] == photo.samples[$0 * 3] })
        #expect(try plain.cutOut() != inputs.compositor().cutOut())
    }

    /// In a photo larger than the working side only the blurs are coarser: what is seen of the person hardly changes.
    @Test func foregroundAtAReducedSizeIsNear() throws {
        let compositor = try Self.inputs().compositor()
        let exact = compositor.foreground()
        let reduced = compositor.foreground(workingSide: 45)
        let seen = exact.samples.indices.map { index in
            abs(Float(exact.samples[index]) - Float(reduced.samples[index])) * compositor.mask.values[index / 3]
        }
        #expect(try #require(seen.max()) <= 16)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let inputs = try Self.inputs()
        let compositor = try inputs.compositor()
        let size = PixelSize(height: 1, width: 2)
        #expect(throws: PortraitError.sizeMismatch(what: "mask", expected: inputs.photo.size, found: size)) {
            try Compositor(photo: inputs.photo.picture(), mask: Plane(size: size, constant: 0))
        }
        #expect(throws: PortraitError.notAProbability(low: 2, high: 2)) {
            try Compositor(photo: inputs.photo.picture(), mask: Plane(size: inputs.photo.size, constant: 2))
        }
        #expect(throws: PortraitError.outOfRange(what: "A blur's sigma in pixels", allowed: "0 or more", found: -1)) {
            try compositor.picture(.blurred(sigma: -1))
        }
        #expect(throws: PortraitError.channels(what: "background", expected: 3, found: 1)) {
            try compositor.replaced(.picture(Picture(size: size, channels: 1, samples: [0, 1])))
        }
    }
}
