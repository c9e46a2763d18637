#if canImport(CoreML)
    import CoreML
    import Foundation

    /// Compiled packages, kept in Application Support: Core ML leaves them in a temporary folder.
    enum CompiledModels {
        /// The compiled form of a package; a .mlmodelc is one already.
        static func compiled(_ package: URL) async throws -> URL {
            if package.pathExtension == "mlmodelc" { return package }
            let files = FileManager.default
            let support = try files.url(
                for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
            let folder = support.appendingPathComponent("CompiledModels")
            let name = package.deletingPathExtension().lastPathComponent
            let kept = folder.appendingPathComponent("\(name)-\(try fingerprint(of: package)).mlmodelc")
            if files.fileExists(atPath: kept.path) { return kept }
            try files.createDirectory(at: folder, withIntermediateDirectories: true)
            try files.moveItem(at: try await MLModel.compileModel(at: package), to: kept)
            return kept
        }

        /// Changes with the names, sizes and dates of the package's files (FNV-1a, 64 bits).
        private static func fingerprint(of package: URL) throws -> String {
            var hash: UInt64 = 0xCBF2_9CE4_8422_2325
            for name in try FileManager.default.subpathsOfDirectory(atPath: package.path).sorted() {
                let attributes = try FileManager.default.attributesOfItem(
                    atPath: package.appendingPathComponent(name).path)
                let date = (attributes[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
                let size = (attributes[.size] as? NSNumber)?.int64Value ?? 0
                for byte in "\(name) \(size) \(date)".utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
            }
            return String(hash, radix: 16)
        }
    }
#endif
