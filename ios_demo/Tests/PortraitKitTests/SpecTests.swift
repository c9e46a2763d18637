import PortraitKit
import Testing

@Suite struct SpecTests {
    struct Fields: Decodable, Sendable {
        let height, width: Int
        let color, resize, output, positive: String
        let scale, threshold: Double
        let mean, std: [Double]
        let inputs: [String]
    }

    struct Row: Decodable, Sendable, CustomTestStringConvertible {
        let name, json: String
        let fields: Fields

        var testDescription: String { name }
    }

    @Test(arguments: try Fixture.rows("specs", as: Row.self))
    func everyFieldIsRead(_ row: Row) throws {
        let spec = try PortraitSpec(json: row.json)
        #expect(spec.size == PixelSize(height: row.fields.height, width: row.fields.width))
        #expect(spec.color.rawValue == row.fields.color)
        #expect(spec.resize.rawValue == row.fields.resize)
        #expect(spec.output.rawValue == row.fields.output)
        #expect(spec.positive.rawValue == row.fields.positive)
        #expect(spec.scale == row.fields.scale)
        #expect(spec.threshold == row.fields.threshold)
        #expect(spec.mean == row.fields.mean)
        #expect(spec.std == row.fields.std)
        #expect(spec.inputs.map(\.rawValue) == row.fields.inputs)
        #expect(spec.takesDepth == row.fields.inputs.contains("depth"))
    }

    struct RefusedRow: Decodable, Sendable, CustomTestStringConvertible {
        let name, json, words: String

        var testDescription: String { name }
    }

    @Test(arguments: try Fixture.rows("refused_specs", as: RefusedRow.self))
    func anythingElseIsRefused(_ row: RefusedRow) throws {
        let error = #expect(throws: SpecError.self) { try PortraitSpec(json: row.json) }
        #expect("\(try #require(error))".contains(row.words), "\(String(describing: error))")
    }

    @Test func everyFaultIsNamedAtOnce() throws {
        let json = """
            {"color": "rgb", "height": true, "inputs": ["depth"], "mean": [1, 2, 3], "output": "mask",
             "positive": "person", "resize": "fit", "scale": "1", "std": [1, 1, 1], "threshold": 0.5, "width": 1.5}
            """
        let error = try #require(#expect(throws: SpecError.self) { try PortraitSpec(json: json) })
        guard case .values(let faults) = error else { throw error }
        #expect(faults.map { $0.prefix { $0 != " " } } == ["height", "width", "scale", "inputs"])
    }

    @Test func metadataHoldsTheSpecAndTheSizes() throws {
        let rows = try Fixture.rows("specs", as: Row.self)
        let json = try #require(rows.first).json
        let one = try PackageMetadata(userDefined: [PackageMetadata.specKey: json])
        #expect(one.sizes == [one.spec.size])
        let listed = [PackageMetadata.specKey: json, PackageMetadata.sizesKey: "256x256,512x384"]
        #expect(
            try PackageMetadata(userDefined: listed).sizes
                == [PixelSize(height: 256, width: 256), PixelSize(height: 512, width: 384)])
        #expect(throws: PortraitError.sizes(found: "256x256,big")) {
            try PackageMetadata(userDefined: [PackageMetadata.specKey: json, PackageMetadata.sizesKey: "256x256,big"])
        }
        #expect(throws: PortraitError.noSpec(foundKeys: ["author"])) {
            try PackageMetadata(userDefined: ["author": "somebody"])
        }
    }
}
