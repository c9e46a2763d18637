import Foundation
import Testing

@testable import PortraitKit

@Suite struct AssetTests {
    static let size = PixelSize(height: 2, width: 3)

    static func specJSON(output: String = "mask", inputs: String = #"["image"]"#) -> String {
        """
        {"color": "rgb", "height": 2, "inputs": \(inputs), "mean": [0, 0, 0], "output": "\(output)",
         "positive": "person", "resize": "stretch", "scale": 1, "std": [1, 1, 1], "threshold": 0.5, "width": 3}
        """
    }

    static func spec(output: String = "mask", inputs: String = #"["image"]"#) throws -> PortraitSpec {
        try PortraitSpec(json: specJSON(output: output, inputs: inputs))
    }

    @Test func metadataOfAnAssetIsRead() throws {
        let entries: [String: Any] = [PackageMetadata.specKey: Self.specJSON(), "number": 3, "list": [1]]
        let file: [String: Any] = ["creatorDefinedMetadata": entries, "producer": "coreai-core 1.0.0b3"]
        let json = try JSONSerialization.data(withJSONObject: file)
        let found = try PackageMetadata(assetMetadata: json, name: "net")
        #expect(found.spec == (try Self.spec()))
        #expect(found.sizes == [Self.size])
    }

    @Test(arguments: ["", "[]", #"{"creatorDefinedMetadata": 3}"#])
    func otherContentIsOneError(json: String) throws {
        let error = try #require(throws: PortraitError.self) {
            try PackageMetadata(assetMetadata: Data(json.utf8), name: "net")
        }
        #expect("\(error)".hasPrefix("net: its metadata.json cannot be read"))
    }

    @Test(arguments: ["{}", #"{"creatorDefinedMetadata": {"author": "somebody"}}"#])
    func assetOfAnotherToolHasNoSpec(json: String) throws {
        let error = try #require(throws: PortraitError.self) {
            try PackageMetadata(assetMetadata: Data(json.utf8), name: "net")
        }
        guard case .noSpec = error else { throw error }
    }

    @Test func maskIsReadAndElseLogits() throws {
        let outputs = ["classes", "logits", "mask"]
        let mask = try AssetInterface(asset: "net", inputs: ["image"], outputs: outputs, spec: Self.spec())
        #expect(mask.output == "mask")
        #expect(!mask.givesLogits)
        let logits = try AssetInterface(
            asset: "net", inputs: ["image"], outputs: ["logits"], spec: Self.spec(output: "logits"))
        #expect(logits.givesLogits)
        let depth = try Self.spec(inputs: #"["image", "depth"]"#)
        #expect(
            try AssetInterface(asset: "net", inputs: ["depth", "image"], outputs: ["mask"], spec: depth).output
                == "mask")
    }

    @Test func otherInputsOrOutputsAreRefused() throws {
        for (inputs, outputs) in [(["x"], ["mask"]), (["depth", "image"], ["mask"]), (["image"], ["logits"])] {
            let error = try #require(throws: PortraitError.self) {
                try AssetInterface(asset: "net", inputs: inputs, outputs: outputs, spec: Self.spec())
            }
            #expect("\(error)".contains("net: it takes \(inputs) and gives \(outputs)"))
        }
    }

    @Test func maskIsReadThroughItsStrides() throws {
        let interface = try AssetInterface(asset: "net", inputs: ["image"], outputs: ["mask"], spec: Self.spec())
        let memory: [UInt8] = [0, 51, 102, 9, 255, 204, 153, 9]  // rows of 4, the last is padding
        let plane = try memory.withUnsafeBytes { bytes in
            try interface.probability(
                from: #require(bytes.baseAddress), shape: [1, 1, 2, 3], strides: [8, 8, 4, 1], format: .uint8,
                size: Self.size)
        }
        #expect(plane.values == [0, 0.2, 0.4, 1, 0.8, 0.6])
    }

    @Test func maskOfAnotherSizeIsRefusedAndLogitsAreResized() throws {
        let zeros: [Float] = [0, 0]
        for output in ["mask", "logits"] {
            let interface = try AssetInterface(
                asset: "net", inputs: ["image"], outputs: [output], spec: Self.spec(output: output))
            let read = {
                try zeros.withUnsafeBytes { bytes in
                    try interface.probability(
                        from: #require(bytes.baseAddress), shape: [1, 1, 1, 2], strides: [2, 2, 2, 1],
                        format: .float32, size: Self.size)
                }
            }
            if output == "mask" {
                #expect(throws: PortraitError.self) { try read() }
            } else {
                #expect(try read() == Plane(size: Self.size, constant: 0.5))
            }
        }
    }

    @Test func inputsHaveTheToolkitsShapes() {
        #expect(AssetInterface.imageShape(Self.size) == [1, 2, 3, 3])
        #expect(AssetInterface.depthShape(Self.size) == [1, 1, 2, 3])
    }
}
