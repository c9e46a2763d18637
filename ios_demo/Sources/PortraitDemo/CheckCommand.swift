import Foundation
import PortraitCoreML
import PortraitImages
import PortraitKit

/// `portrait-demo check`: whether Core ML's accelerators give the masks that its CPU gives.
struct CheckCommand {
    static let usage = """
        portrait-demo check PHOTO... --package X.mlpackage        (on a Mac)
        """

    let photos: [String]
    let package: String

    init(_ words: [String]) throws {
        let arguments = try Arguments(words, options: ["--package,-p"], flags: [])
        photos = arguments.words
        guard !photos.isEmpty else { throw UsageError(description: "No photo is given.\n" + Self.usage) }
        package = try arguments.required("--package")
    }

    /// Whether every photograph passed.
    func run() async throws -> Bool {
        #if canImport(CoreML)
            let url = URL(fileURLWithPath: package)
            let reference = try await CoreMLEngine(contentsOf: url, units: .cpuOnly)
            let candidate = try await CoreMLEngine(contentsOf: url, units: .all)
            let read = try photos.map { path in
                (name: URL(fileURLWithPath: path).lastPathComponent, photo: try PictureFile.photo(at: path).picture)
            }
            let check = try await SelfCheck(reference, candidate, on: read)
            let rows = check.rows.map { row in
                [row.name, String(format: "%.5f", row.iou), check.passed(row) ? "passed" : "FAILED"]
            }
            print("\(check.candidate) against \(check.reference)")
            print(Terminal.table([["photo", "mask IoU", ""]] + rows))
            return check.passed
        #else
            throw UsageError(description: "check compares Core ML's compute units, and there is no Core ML here.")
        #endif
    }
}
